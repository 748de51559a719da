"""Training: the store of preprocessed scans, recipes and the training loop."""
