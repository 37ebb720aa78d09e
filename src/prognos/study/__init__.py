"""One experiment: models x variants x seeds x folds -> out-of-fold predictions -> comparison."""
