"""Linear operators of MR physics, and coil arrays."""
