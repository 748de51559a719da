"""Iterative solvers and proximal maps, free of MRI."""

from cmrrecon.solvers.conjugate_gradient import conjugate_gradient
from cmrrecon.solvers.fista import fista
from cmrrecon.solvers.iteration import (
    Monitor,
    Operator,
    Solution,
    frame_dot,
    frame_energy,
    never,
    relative_size,
)
from cmrrecon.solvers.primal_dual import primal_dual

__all__ = [
    "Monitor",
    "Operator",
    "Solution",
    "conjugate_gradient",
    "fista",
    "frame_dot",
    "frame_energy",
    "never",
    "primal_dual",
    "relative_size",
]
