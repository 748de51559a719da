"""Motion of random scenes (heartbeat, breathing, drift), and the bending of their shapes."""

import math

import torch
from torch import Tensor

from cmrrecon.simulation.random_materials import Ventricle, smooth_field
from cmrrecon.simulation.shapes import happens, uniform

# The probability of breathing, and of drift in aperiodic scenes.
BREATHING, DRIFTING = 0.2, 0.15
# The range beyond the wall within which tissue moves with a ventricle, in multiples of its radius;
# and the largest bend of shapes, as a fraction of the shorter side.
REACH, BENT = (0.3, 1.5), 0.2


def heart_beat(frames: int, draw: torch.Generator, *, periodic: bool) -> Tensor:
    """Draw the contraction (frame,) from 0 to 1, with a fast systole and a slow diastole.

    If periodic, the frames show one beat; otherwise beats of varying length and strength.
    """
    if periodic:
        return pulse((torch.arange(frames) / frames + uniform(0, 1, draw)) % 1)

    place, phases, strengths = uniform(0, 1, draw), [], []
    length, strength = uniform(4, 24, draw), uniform(0.6, 1, draw)

    for _ in range(frames):
        phases.append(place % 1)
        strengths.append(strength)
        place += 1 / length
        if place >= 1:
            place -= 1
            # The next beat may come early or be weak.
            length, strength = length * uniform(0.7, 1.3, draw), uniform(0.5, 1, draw)
            length = min(max(length, 4.0), 30.0)

    return pulse(torch.tensor(phases)) * torch.tensor(strengths)


def pulse(phase: Tensor) -> Tensor:
    """Return the contraction at phases in [0, 1): a third of the beat up, then down, then rest."""
    rise, fall = 0.35, 0.45
    up = torch.sin(math.pi / 2 * (phase / rise).clamp(0, 1)).square()
    down = torch.cos(math.pi / 2 * ((phase - rise) / fall).clamp(0, 1)).square()
    return torch.where(phase < rise, up, down)


def random_motion(
    frames: int,
    y: int,
    x: int,
    ventricles: list[Ventricle],
    beat: Tensor,
    draw: torch.Generator,
    *,
    still: bool,
    periodic: bool,
) -> Tensor:
    """Draw the place in the material that each pixel shows, (frame, y, x, 2) in pixels, y first."""
    rows, columns = torch.meshgrid(
        torch.arange(y, dtype=torch.float32), torch.arange(x, dtype=torch.float32), indexing="ij"
    )
    places = torch.stack((rows, columns), -1).expand(frames, y, x, 2).clone()
    if still:
        return places

    time = torch.arange(frames) / max(1, frames)
    if happens(BREATHING, draw):
        cycles = 1.0 if periodic else uniform(0.2, 2.0, draw)
        size = uniform(0, 1.0, draw) if periodic else uniform(1, 8, draw)
        breath = size * torch.sin(2 * math.pi * (cycles * time + uniform(0, 1, draw)))

        # Only the inside of the chest moves, not its wall.
        inside = (1 - ((rows / y - 0.5) / 0.45) ** 4).clamp(min=0) * (
            1 - ((columns / x - 0.5) / 0.45) ** 4
        ).clamp(min=0)

        direction = uniform(0, 2 * math.pi, draw)
        shift = torch.tensor([math.sin(direction), math.cos(direction)])
        places = places + breath[:, None, None, None] * inside[None, ..., None] * shift

    if not periodic and happens(DRIFTING, draw):
        places = places + time[:, None, None, None] * torch.tensor(
            [uniform(-4, 4, draw), uniform(-4, 4, draw)]
        )

    reach = uniform(*REACH, draw)
    for ventricle in ventricles:
        places = places + beat_displacement(places, ventricle, beat, reach)
    return places


def beat_displacement(places: Tensor, ventricle: Ventricle, beat: Tensor, reach: float) -> Tensor:
    """Return the displacement from places to where their tissue is before the ventricle contracts.

    Outside the cavity areas are preserved, so the wall thickens:
    `R^2 = r^2 + inner^2 - inner(t)^2`. Inside the cavity radii are stretched. Beyond the wall the
    displacement fades over `reach` times the radius of the wall.

    Parameters
    ----------
    places : Tensor of shape (frame, y, x, 2)
        The places in pixels, rows first.
    ventricle : Ventricle
        The ventricle.
    beat : Tensor of shape (frame,)
        The contraction, from 0 to 1.
    reach : float
        The range beyond the wall, in multiples of the wall's radius.
    """
    offset = places - torch.tensor(ventricle.centre)
    r = offset.norm(dim=-1).clamp(min=1e-3)
    now = (ventricle.inner * (1 - ventricle.stroke * beat))[:, None, None]
    outside = (r.square() + ventricle.inner**2 - now.square()).clamp(min=0).sqrt()

    rest = torch.where(r < now, r * ventricle.inner / now, outside)
    fade = torch.exp(-(((r - ventricle.outer).clamp(min=0) / (reach * ventricle.outer)) ** 2))
    displacement: Tensor = offset * ((rest / r - 1) * fade)[..., None]
    return displacement


def random_bend(y: int, x: int, draw: torch.Generator) -> Tensor:
    """Draw smooth displacements (y, x, 2) in pixels that turn ellipses into irregular organs."""
    cells = int(torch.randint(2, 5, (), generator=draw))
    size = uniform(0, BENT, draw) * min(y, x) / cells
    return size * torch.stack(
        (smooth_field((y, x), cells, draw), smooth_field((y, x), cells, draw)), -1
    )
