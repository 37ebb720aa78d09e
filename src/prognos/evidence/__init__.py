"""What fitted models show of patients whom they were not trained on, beside the risk."""
