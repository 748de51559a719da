"""The models of relaxation that are fitted to a mapping series. All times are in ms."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from cmrrecon.relaxometry.exponential import (
    Exponential,
    coarse,
    fit_exponential,
    refined,
)
from cmrrecon.relaxometry.precision import deviation_of_decay, deviation_of_recovery
from cmrrecon.tools.errors import InputError, UsageError, suggestion

APPARENT_T1 = (50.0, 10_000.0)  # In ms; search range.
LONGEST_T1 = 10_000.0  # In ms; the correction of nearly flat curves has no upper limit.
DECAY = (0.5, 2000.0)  # In ms; search range of T2 and T2*.
LONGEST_T2 = 200.0  # In ms; the challenge's program treats a longer T2 as a failed fit.
# Polarities that are refined, best first; another one is better only in pixels of mere noise.
POLARITIES = 3
# A signal whose weightings differ by less than this fraction carries no relaxation time.
FLAT = 1e-6
FLOOR_TIMES = 5  # A noise floor is fitted by default to this number of different times or more.
CHUNK = 4096  # pixels fitted at once; intermediate arrays then fit into the cache


class Fit(NamedTuple):
    """A fitted relaxation time of each pixel; NaN where the fit failed.

    Attributes
    ----------
    values : Tensor of shape (pixel,), float64
        Relaxation time in ms.
    deviation : Tensor of shape (pixel,), float64
        Standard deviation of the value in ms, from the Jacobian and the residual. NaN if there are
        only as many times as parameters.
    residual : Tensor of shape (pixel,), float64
        Root mean square residual over the weightings, in the unit of the signal.
    """

    values: Tensor
    deviation: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Model:
    """A model of relaxation.

    Attributes
    ----------
    name : str
        Name, as in `MODELS`.
    parameter : str
        `T1`, `T2` or `T2*`.
    formula : str
        The signal over time, and how the relaxation time follows from it.
    parameters : int
        Number of fitted parameters; a restored polarity counts as one.
    solve : callable
        Takes signals (frame, pixel) and times (frame,), both float64; returns a `Fit`.
    inverted : bool
        Whether the weightings follow an inversion; a final time of 0 then marks one to exclude.
    floor : callable or None
        `solve` with a noise floor, an additional parameter; None if the model has none.
    """

    name: str
    parameter: str
    formula: str
    parameters: int
    solve: Callable[[Tensor, Tensor], Fit]
    inverted: bool = False
    floor: Callable[[Tensor, Tensor], Fit] | None = None


def fit_pixels(
    magnitude: Tensor, times: Tensor, model: Model, *, noise_floor: bool | None = None
) -> Fit:
    """Fit a model to each pixel by least squares.

    Parameters
    ----------
    magnitude : Tensor of shape (frame, pixel), real
        Signal of each pixel.
    times : Tensor of shape (frame,)
        Times in ms, in any order; after an inversion, a final time of 0 excludes the last
        weighting.
    model : Model
        The model.
    noise_floor : bool or None
        Whether to fit a noise floor. None: if the model has one and there are at least
        `FLOOR_TIMES` different times.

    Returns
    -------
    Fit
        The values. They are NaN where a sample is not finite, the signal is constant, or no curve
        with a relaxation time inside the searched range fits.

    Raises
    ------
    InputError
        If there are fewer different times than parameters (`times-too-few`).
    UsageError
        If the model has no noise floor (`options-conflict`).
    """
    times = kept_times(times, model)
    magnitude = magnitude[: len(times)]
    with_floor = has_floor(model, times, noise_floor)
    check_times(times, model, with_floor=with_floor)

    solve = model.floor if with_floor and model.floor is not None else model.solve
    order = times.argsort().to(magnitude.device)
    signal, t = magnitude[order], times.to(magnitude.device, torch.float64)[order]
    parts = [_usable(part.double(), t, solve) for part in torch.split(signal, CHUNK, 1)]
    return Fit(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def has_floor(model: Model, times: Tensor, requested: bool | None) -> bool:
    """Return whether a noise floor is fitted, see `fit_pixels`.

    Raises
    ------
    UsageError
        If it is requested, but the model has none (`options-conflict`).
    """
    if requested and model.floor is None:
        raise UsageError(
            "options-conflict",
            f"A noise floor was requested for the model {model.name}",
            "Only the models t2 and t2star have a noise floor",
            "Leave the noise floor out, or choose one of these models",
        )
    if requested is None:
        return model.floor is not None and len(set(times.tolist())) >= FLOOR_TIMES
    return requested


def model_named(name: str) -> Model:
    """Return the model of this name.

    Raises
    ------
    UsageError
        If there is none (`unknown-model`).
    """
    if name not in MODELS:
        raise UsageError(
            "unknown-model",
            f"There is no model {name!r}",
            f"The models are {', '.join(MODELS)}",
            suggestion(name, MODELS, "Choose one of them"),
        )
    return MODELS[name]


def kept_times(times: Tensor, model: Model) -> Tensor:
    """Return the times (frame,) to be fitted: after an inversion, without a final time of 0."""
    return times[:-1] if model.inverted and float(times[-1]) == 0 else times


def check_times(times: Tensor, model: Model, *, with_floor: bool) -> None:
    """Refuse fewer different times (frame,) than parameters (`times-too-few`)."""
    different = len(set(times.tolist()))
    least = model.parameters + with_floor
    if different < least:
        raise InputError(
            "times-too-few",
            f"There are {different} different times",
            f"A fit of {model.parameter} with the model {model.name} needs at least {least}",
            "Use the times of all weightings",
        )


def _usable(signal: Tensor, times: Tensor, solve: Callable[[Tensor, Tensor], Fit]) -> Fit:
    """Fit the pixels whose samples are finite and differ from each other; the rest is NaN."""
    top = signal.abs().amax(0)
    varied = top - signal.abs().amin(0) > FLAT * top
    usable = signal.isfinite().all(0) & varied
    # Scaled to a maximum of one, so that the unit of the images cannot cause an overflow.
    scale = torch.where(usable, top, 1.0)
    found = solve(torch.where(usable, signal / scale, 0.0), times)

    fitted = usable & found.values.isfinite()
    residual = found.residual * scale
    return Fit(*(torch.where(fitted, column, torch.nan) for column in (*found[:2], residual)))


def _recovery(signal: Tensor, times: Tensor, *, flips: bool, corrected: bool) -> Fit:
    """Fit `A - B exp(-t / T1*)`, with the sign of magnitudes restored if `flips`.

    The k earliest samples are made negative for every k. Of the fits that are a recovery, the one
    with the least residual is kept.
    """
    count = len(times)
    if flips:
        place = torch.arange(count, device=signal.device)
        earliest = place < torch.arange(count + 1, device=signal.device)[:, None]
        # The negative of A - B exp(-t / T1*), so that the exponential has a positive amplitude.
        signals = torch.where(earliest, 1.0, -1.0).double()[..., None] * signal
        start = coarse(signals, times, APPARENT_T1, constant=True)
        ranked = torch.where(_recovers(start, inverted=True), start.residual, torch.inf)
        kept = ranked.argsort(dim=0, stable=True)[:POLARITIES]
        signals = signals.gather(0, kept[:, None].expand(-1, count, -1))
        found = refined(signals, times, APPARENT_T1, start.tau.gather(0, kept), constant=True)
    else:
        found = fit_exponential(-signal[None], times, APPARENT_T1, constant=True)

    recovers = _recovers(found, inverted=flips)
    best = torch.where(recovers, found.residual, torch.inf).min(0)
    chosen = Exponential(*(_picked(part, best.indices) for part in vars(found).values()))

    deviation = deviation_of_recovery(chosen, times, corrected=corrected)
    factor = chosen.amplitude / -chosen.constant - 1 if corrected else 1.0
    values = chosen.tau * factor
    values = torch.where(best.values.isfinite() & (values <= LONGEST_T1), values, torch.nan)
    return Fit(values, deviation, (chosen.residual / count).sqrt())


def _recovers(found: Exponential, *, inverted: bool) -> Tensor:
    """Return whether `-found` rises to a positive value, from a negative one if `inverted`."""
    steady = -found.constant
    return found.good & (steady > 0) & (found.amplitude > (steady if inverted else 0))


def _decay(signal: Tensor, times: Tensor, *, floor: bool) -> Fit:
    """Fit `S0 exp(-t / T2)`, with a noise floor that cannot be negative if `floor`."""
    plain = fit_exponential(signal, times, DECAY, constant=False)
    deviation = deviation_of_decay(plain, times, floor=False)
    found = plain
    if floor:
        raised = fit_exponential(signal, times, DECAY, constant=True)
        above = raised.good & (raised.constant > 0)
        found = Exponential(
            *(
                torch.where(above, with_floor, without)
                for with_floor, without in zip(
                    vars(raised).values(), vars(plain).values(), strict=True
                )
            )
        )
        deviation = torch.where(above, deviation_of_decay(raised, times, floor=True), deviation)

    values = torch.where(found.good, found.tau, torch.nan)
    return Fit(values, deviation, (found.residual / len(times)).sqrt())


def _line(signal: Tensor, times: Tensor) -> Fit:
    """Fit a line through ln S over time; T2 is -1 / slope."""
    logarithm = signal.clamp(min=torch.finfo(torch.float64).tiny).log()
    centred = (times - times.mean())[:, None]
    spread = centred.square().sum()
    slope = (centred * logarithm).sum(0) / spread
    fitted = logarithm.mean(0) + slope * centred

    t2 = -1 / slope
    good = (signal > 0).all(0) & (slope < 0) & (t2 <= LONGEST_T2)
    freedom = len(times) - 2
    variance = (logarithm - fitted).square().sum(0) / (freedom or torch.nan) / spread
    return Fit(
        torch.where(good, t2, torch.nan),
        t2.square() * variance.sqrt(),
        (signal - fitted.exp()).square().mean(0).sqrt(),
    )


def _picked(values: Tensor, index: Tensor) -> Tensor:
    """Return one row of (row, pixel) for each pixel."""
    return values.gather(0, index[None])[0]


MOLLI = Model(
    "molli",
    "T1",
    "|A - B exp(-TI / T1*)|, T1 = T1* (B / A - 1), corrected for the readout (Look-Locker)",
    4,
    partial(_recovery, flips=True, corrected=True),
    inverted=True,
)
INVERSION = Model(
    "inversion",
    "T1",
    "|A - B exp(-TI / T1)|, not corrected for the readout",
    4,
    partial(_recovery, flips=True, corrected=False),
    inverted=True,
)
SATURATION = Model(
    "saturation",
    "T1",
    "A - B exp(-TS / T1)",
    3,
    partial(_recovery, flips=False, corrected=False),
)
T2 = Model(
    "t2",
    "T2",
    "S0 exp(-TE / T2), with a noise floor + c, c >= 0",
    2,
    partial(_decay, floor=False),
    floor=partial(_decay, floor=True),
)
T2_LINE = Model("t2-line", "T2", f"line through ln S over TE, T2 up to {LONGEST_T2:g} ms", 2, _line)
T2_STAR = Model(
    "t2star",
    "T2*",
    "S0 exp(-TE / T2*), with a noise floor + c, c >= 0",
    2,
    partial(_decay, floor=False),
    floor=partial(_decay, floor=True),
)
MODELS = {model.name: model for model in (MOLLI, INVERSION, SATURATION, T2, T2_LINE, T2_STAR)}
