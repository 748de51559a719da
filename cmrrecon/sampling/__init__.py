"""The sampling patterns, official and common, and putting one on a scan."""

from cmrrecon.sampling.apply import apply_mask, default_seed, undersample
from cmrrecon.sampling.kt_gaussian import identify_seed
from cmrrecon.sampling.make import PATTERNS, Pattern, make_mask

__all__ = ["PATTERNS", "Pattern", "apply_mask", "default_seed", "identify_seed", "make_mask", "undersample"]
