"""Networks and their weights, to and from files."""
