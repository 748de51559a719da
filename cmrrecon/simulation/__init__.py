"""Simulated acquisition: phantoms, coils and noise make k-space without a scanner."""

from cmrrecon.simulation.acquisition import acquire, coil_maps, noise_sigma
from cmrrecon.simulation.scans import KINDS, Simulated, simulate

__all__ = ["KINDS", "Simulated", "acquire", "coil_maps", "noise_sigma", "simulate"]
