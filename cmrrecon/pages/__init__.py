"""Self-contained HTML pages, opened from disk without a network."""
