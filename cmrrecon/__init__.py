"""Cardiac MRI reconstruction: undersampled multi-coil k-space in, images and scores out. Research use only."""

__version__ = "0.1.0"
