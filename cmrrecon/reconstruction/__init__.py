"""One scan in, a `Result` out."""
