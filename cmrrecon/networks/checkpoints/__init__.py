"""Save and load networks and their weights."""
