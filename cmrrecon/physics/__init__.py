"""Fourier transforms, the encoding operator, coil sensitivities and coil arrays."""
