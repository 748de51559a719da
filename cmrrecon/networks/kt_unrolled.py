"""kt-unrolled: a small unrolled network for a whole series, which refines compressed sensing.

With the data y it computes::

    x_0     = s_1, a compressed-sensing solution (wavelets in time and space) from the still image
    z_k     = x_k + e p R(p* [x_k, 3 (x_k - mean over time of x_k),
                              (A^H (A x_k - y), s_1 - x_k, s_2 - x_k) / e]; c, k)
    x_(k+1) = argmin 1/2 ||A x - y||^2 + l_k(c) / 2 ||x - z_k||^2
              (a few steps of conjugate gradients from z_k)

- A is the encoding of the classical methods (`classical.problem`), with refined maps from the
  series itself, or two sets of ESPIRiT maps if the body folds over.
- s_2 is the solution of another method: locally low rank, after a few steps from s_1, or total
  variation for a single frame. e is proportional to the root mean square difference between s_1 and
  s_2, and about as large as their errors. Dividing by e scales errors to about one in every scan.
- p is the phase of x_0, averaged over time and a small neighbourhood. Once it is removed, images
  are nearly real.
- R is the same network in every step. It works on squares of 2 x 2 pixels (Zhang et al., FFDNet,
  IEEE TIP 2018;27:4608), frame by frame. Neighbouring frames are combined in 1 x 1 convolutions,
  and the first and last frame are repeated at the ends, so that any number of frames is possible.
- c describes the scan. Together with the number of the step it scales and shifts the features of R
  (Perez et al., FiLM, AAAI 2018) and determines the weight l_k.

The iteration comes from MoDL (Aggarwal et al., IEEE TMI 2019;38:394).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.classical.low_rank import llr
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.still import started
from cmrrecon.classical.total_variation import tv
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.data import SamplingMask, Series
from cmrrecon.networks.base import Output
from cmrrecon.networks.cost import Footprint, footprint
from cmrrecon.networks.layers import ConvolutionalBody, recomputed, safe_root
from cmrrecon.networks.problem_facts import FACTS, disagreement, facts, smooth_phase
from cmrrecon.networks.problem_network import ProblemNetwork
from cmrrecon.operators.cartesian import Encoding
from cmrrecon.solvers import conjugate_gradient

# The number of complex images that the regulariser sees (each as two channels), and the side in
# pixels of the squares it works on.
SEEN, SIDE = 5, 2
# The initial weight of the regulariser relative to the data.
FIRST_WEIGHT = 3.0
# The number of steps of s_1 from the still image, if the mask varies over time and if it does not,
# and of s_2 from s_1. With the same samples in all frames, the still image is close to s_1.
FIRST_STEPS, FIRST_STEPS_SAME, SECOND_STEPS = 30, 20, 8
# The weight of s_1, unless trials found a better one.
START_WEIGHT = 0.01
# e relative to the root mean square difference between s_1 and s_2.
ERROR_RATIO = 1.5
# The number of columns that are processed at once without gradients; a multiple of SIDE.
TILE = 256


class Block(nn.Module):
    """A residual block that updates features (frame, channel, y, x) in space and time."""

    def __init__(self, channels: int, known: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(channels, channels, 3)
        self.time = nn.Linear(3 * channels, channels)
        self.film = nn.Linear(known, 2 * channels)
        nn.init.normal_(self.time.weight, std=0.01)
        for zero in (self.time.bias, self.film.weight, self.film.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, known: Tensor, cyclic: bool = False) -> Tensor:
        # Scaling and shifting the few weights is cheaper than scaling and shifting the features.
        scale, shift = self.film(known).view(2, -1)
        factor = (1 + scale)[:, None, None, None]
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        bias = self.space.bias * (1 + scale) + shift
        inner = functional.silu(functional.conv2d(padded, self.space.weight * factor, bias))
        return self._over_time(x.movedim(1, -1), inner.movedim(1, -1), cyclic).movedim(-1, 1)

    def _over_time(self, x: Tensor, inner: Tensor, cyclic: bool) -> Tensor:
        """Add a combination of the previous, the same and the next frame (frame, y, x, channel).

        The frame before the first is the last one if time is cyclic, otherwise the first itself;
        likewise at the end.
        """
        channels = x.shape[-1]
        before, same, after = self.time.weight.view(channels, 3, channels).unbind(1)

        mixed = functional.linear(inner, same, self.time.bias)
        mixed[1:].add_(functional.linear(inner[:-1], before))
        mixed[:1].add_(functional.linear(inner[-1:] if cyclic else inner[:1], before))
        mixed[:-1].add_(functional.linear(inner[1:], after))
        mixed[-1:].add_(functional.linear(inner[:1] if cyclic else inner[-1:], after))
        return x + mixed


class Regulariser(ConvolutionalBody):
    """R: maps (frame, 2 SEEN, y, x) of any size to (frame, 2, y, x); zero before training."""

    def __init__(self, channels: int, blocks: int, known: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * SEEN * SIDE**2, channels, 3, padding=1, padding_mode="replicate")
        self.blocks = nn.ModuleList(Block(channels, known) for _ in range(blocks))
        self.last = nn.Conv2d(channels, 2 * SIDE**2, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, known: Tensor, cyclic: bool = False) -> Tensor:
        y, width = x.shape[-2:]
        x = functional.pad(x, (0, -width % SIDE, 0, -y % SIDE), mode="replicate")
        features = self.first(functional.pixel_unshuffle(x, SIDE))
        for block in self.blocks:
            features = block(features, known, cyclic)
        return functional.pixel_shuffle(self.last(features), SIDE)[..., :y, :width]


class KtUnrolled(ProblemNetwork):
    """The network described in the module; it reconstructs all frames of a series.

    Parameters
    ----------
    cascades : int
        The number of unrolled steps.
    channels, blocks : int
        The sizes of the regulariser.
    solver_steps : int
        The number of conjugate gradient steps in every unrolled step.
    checkpointing : bool
        Keep only the inputs of every step for the backward pass and recompute the rest.
    """

    can_checkpoint: ClassVar[bool] = True
    starts_from: ClassVar[tuple[str, ...]] = ("kt-wavelet",)

    def __init__(
        self,
        *,
        cascades: int = 2,
        channels: int = 64,
        blocks: int = 4,
        solver_steps: int = 2,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "cascades": cascades,
            "channels": channels,
            "blocks": blocks,
            "solver_steps": solver_steps,
        }
        self.cascades, self.solver_steps, self.checkpointing = cascades, solver_steps, checkpointing

        self.unet = Regulariser(channels, blocks, FACTS + cascades)
        self.weight = nn.Linear(FACTS + cascades, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.constant_(self.weight.bias, math.log(FIRST_WEIGHT))

    def cost(self, frames: int, coils: int, y: int, x: int, *, lines: bool) -> Footprint:
        images = (frames, 2 * SEEN, y, x), torch.float32
        step = footprint(self.ghost().unet, images, ((FACTS + self.cascades,), torch.float32))
        return Footprint(step.flops * self.cascades, step.nbytes)

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, columns: slice | None = None
    ) -> Output:
        """Reconstruct the magnitudes of one series; see `SeriesNetwork.forward`.

        Raises
        ------
        ValueError
            If there are several series.
        InputError
            If there is too little calibration data for coil maps; see `classical.problem`.
        NumericalError
            If no usable coil maps result.
        """
        if len(kspace) != 1:
            raise ValueError("one series at a time")
        prepared = PreparedSeries(Series(kspace[0], SamplingMask.of(mask[0])))
        with torch.no_grad():
            coils = prepared.coils().first
            coils = refined(prepared, coils if columns is None else replace(coils, columns=columns))
            problem = started(prepared, coils)

        images = tuple(
            safe_root(torch.view_as_real(x).square().sum(-1)) * prepared.scale
            for x in self.steps(problem)
        )

        if columns is None:
            images = tuple(problem.whole(image) for image in images)
        return Output(images[-1], images=images if self.training else ())

    def steps(self, problem: Problem, weight: float = 1.0) -> Iterator[Tensor]:
        """See `ProblemNetwork.steps`.

        With two sets of maps, the network reconstructs the images of the first set. Those of the
        second, which are faint, stay as in s_1.
        """
        assert isinstance(problem.A, Encoding)
        height = problem.A.height
        with torch.no_grad():
            solutions: tuple[Tensor, ...] = starts(problem)
            rest = solutions[0][:, height:]
            if problem.A.sets > 1:
                problem = problem.first_set(solutions[0])
                solutions = tuple(solution[:, :height] for solution in solutions)

            x = solutions[0]
            phase, known = smooth_phase(x), facts(problem, x)
            error = ERROR_RATIO * disagreement(x, solutions[1])

        for step in range(self.cascades):
            context = torch.cat(
                [known, functional.one_hot(torch.tensor(step), self.cascades).to(known)]
            )
            x = recomputed(
                self.checkpointing, self._step, x, solutions, phase, error, context, problem, weight
            )
            yield torch.cat([x, rest], 1)

    def _step(
        self,
        x: Tensor,
        solutions: tuple[Tensor, ...],
        phase: Tensor,
        error: Tensor,
        context: Tensor,
        problem: Problem,
        weight: float,
    ) -> Tensor:
        differences = (problem.A.N(x) - problem.rhs, *(solution - x for solution in solutions))
        seen = (x, 3 * (x - x.mean(0)), *(difference / error for difference in differences))
        channels = (
            torch.cat([torch.view_as_real(image * phase.conj()) for image in seen], -1)
            .permute(0, 3, 1, 2)
            .float()
        )

        update = (
            self.unet(channels, context, problem.cyclic)
            if torch.is_grad_enabled()
            else self._in_tiles(channels, context, problem.cyclic)
        ).to(x.real.dtype)
        update = update.permute(0, 2, 3, 1).contiguous()

        # Where no coil is sensitive, the data could not correct a change.
        assert isinstance(problem.A, Encoding)
        seen_by_coils = problem.A.maps.abs().amax(0) > 0
        z = x + error * torch.view_as_complex(update) * (phase * seen_by_coils)

        return data_consistency(problem, z, weight * self.weight(context).exp(), self.solver_steps)

    def _in_tiles(self, channels: Tensor, context: Tensor, cyclic: bool) -> Tensor:
        """Apply the regulariser to overlapping tiles of columns: same result, less memory."""
        width, parts = channels.shape[-1], []
        # Each convolution (the first, the last and one in every block) reaches one pixel of SIDE
        # columns further. Tiles start at multiples of SIDE.
        around = SIDE * (2 + len(self.unet.blocks))
        for first in range(0, width, TILE):
            left, right = max(0, first - around), min(width, first + TILE + around)
            tile = self.unet(channels[..., left:right].contiguous(), context, cyclic)
            parts.append(tile[..., first - left : first - left + TILE])
        return torch.cat(parts, -1)


def starts(problem: Problem) -> tuple[Tensor, Tensor]:
    """Return s_1 and s_2 (frame, y, x'): kt-wavelet, and llr from s_1, or tv for a single frame.

    A known s_1 comes from the solutions of the problem, and its weight from the known weights.
    """
    if len(problem.rhs) == 1:
        return _plain(kt_wavelet(problem).x), _plain(tv(problem).x)

    first = problem.solutions.get("kt-wavelet")
    if first is None:
        assert isinstance(problem.A, Encoding)
        steps = FIRST_STEPS if problem.A.mask.varies else FIRST_STEPS_SAME
        weight = problem.weights.get("kt-wavelet", START_WEIGHT)
        first = kt_wavelet(problem, weight=weight, iterations=steps).x
    second = llr(replace(problem, start=first), iterations=SECOND_STEPS).x
    return _plain(first), _plain(second)


def _plain(x: Tensor) -> Tensor:
    """Return images with x fastest in memory, as the regulariser needs them."""
    return x.resolve_conj().contiguous()


def data_consistency(problem: Problem, z: Tensor, weight: Tensor, steps: int) -> Tensor:
    """Minimise `1/2 ||A x - y||^2 + weight / 2 ||x - z||^2` by conjugate gradients from z.

    Gradients reach z and the weight.
    """

    def normal(x: Tensor) -> Tensor:
        return problem.A.N(x) + weight * x

    # Solving for the change keeps its precision; if it were added to z, every step would round it.
    return z + conjugate_gradient(normal, problem.rhs - problem.A.N(z), steps).x
