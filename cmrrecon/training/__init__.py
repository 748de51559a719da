"""Training: the store of preprocessed scans."""
