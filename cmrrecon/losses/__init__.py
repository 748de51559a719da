"""Training losses: one idea a file. They take tensors of any scale and say what they normalise by."""
