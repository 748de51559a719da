"""Reconstruction without training: a series in, images out."""
