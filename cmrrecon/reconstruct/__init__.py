"""A scan in, images out: the methods and how they are run."""
