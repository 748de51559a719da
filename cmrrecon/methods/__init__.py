"""Reconstruction methods behind one protocol, and the registry of their names."""
