"""Sampling patterns, official and common, and their application to a scan."""

from cmrrecon.sampling.apply import apply_mask, default_seed, rules_year, undersample
from cmrrecon.sampling.kt_gaussian import identify_seed
from cmrrecon.sampling.make import PATTERNS, Pattern, find_pattern, make_mask

__all__ = [
    "PATTERNS",
    "Pattern",
    "apply_mask",
    "default_seed",
    "find_pattern",
    "identify_seed",
    "make_mask",
    "rules_year",
    "undersample",
]
