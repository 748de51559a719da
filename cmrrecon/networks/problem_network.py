"""Networks that solve the least-squares problem of a series, like the iterative methods."""

import itertools
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from cmrrecon.classical.problem import Problem
from cmrrecon.networks.base import SeriesNetwork
from cmrrecon.solvers import Monitor, Solution, never

# An upper limit that no network reaches.
MOST_STEPS = 100


class ProblemNetwork(SeriesNetwork):
    """A network that starts from the least-squares problem of a series.

    Attributes
    ----------
    starts_from : tuple of str
        The classical methods whose solutions it starts from. It uses `Problem.solutions` where they
        are known.
    """

    starts_from: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def steps(self, problem: Problem, weight: float = 1.0) -> Iterator[Tensor]:
        """Yield the images of a normalised series after every step.

        Parameters
        ----------
        problem : Problem
            The least-squares problem of the series.
        weight : float
            The weight of the network relative to the data, in multiples of the learnt weight.

        Yields
        ------
        Tensor of shape (frame, y, x'), complex
            The images in the columns of the problem.
        """

    def solve(
        self,
        problem: Problem,
        *,
        weight: float = 1.0,
        iterations: int = MOST_STEPS,
        monitor: Monitor = never,
    ) -> Solution:
        """Solve a problem like the solvers of the classical methods, without gradients.

        Parameters
        ----------
        problem : Problem
            See `steps`.
        weight : float
            See `steps`.
        iterations : int
            The maximum number of steps.
        monitor : callable
            Called after every step; see `solvers.Monitor`.

        Returns
        -------
        Solution
            The last images, and the relative change of every step.
        """
        changes = []

        with torch.no_grad():
            x = problem.start
            for step, after in enumerate(
                itertools.islice(self.steps(problem, weight), iterations), 1
            ):
                changes.append(
                    float(
                        (after - x).norm() / after.norm().clamp(min=torch.finfo(torch.float32).tiny)
                    )
                )
                x = after
                if monitor(step, x):
                    break

        return Solution(x, tuple(changes))
