"""What a fitted model saw: one number a patch, as tables, pictures, files for viewers and a page."""
