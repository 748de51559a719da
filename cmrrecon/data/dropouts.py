"""Predict the samples of coils that dropped out of single frames."""

import torch
from torch import Tensor

# Number of neighbours on each side along the readout that predict a sample, and the Tikhonov weight
# relative to the mean energy of the predictors.
REACH = 1
WEIGHT = 1e-4
# Largest number of frames listed in a message.
SHOWN = 5


def filled(kspace: Tensor, samples: Tensor, dropped: Tensor, *, alike: bool = True) -> Tensor:
    """Predict the samples of dropped coils, and keep all others.

    The prediction is the coil's own time average plus a linear combination of the changes over time
    in the other coils. Its weights are fitted in the frames where the coil works.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        K-space with zeros where coils dropped out.
    samples : Tensor of shape (frame|1, y, x|1), bool
        Measured samples.
    dropped : Tensor of shape (frame, coil), bool
        Coils without data in a frame that have data in other frames.
    alike : bool
        Whether an index (y, x) is the same k-space position in all frames. For rotating spokes, it
        is not.

    Returns
    -------
    Tensor of shape (frame, coil, y, x), complex
        K-space with the gaps filled.
    """
    measured = samples.expand(len(kspace), *kspace.shape[2:])
    kspace = kspace.clone()
    steady = (~dropped.any(0)).nonzero().flatten()

    for coil in dropped.any(0).nonzero().flatten().tolist():
        series = kspace[:, torch.cat([steady, steady.new_tensor([coil])])]
        _predict(series, measured, dropped[:, coil], alike=alike)
        kspace[:, coil] = series[:, -1]
    return kspace


def dropout_texts(dropped: Tensor, index: int) -> list[str]:
    """Write one warning for each coil that dropped out, (frame, coil) bool, in slice `index`."""
    texts = []
    for coil in dropped.any(0).nonzero().flatten().tolist():
        frames = dropped[:, coil].nonzero().flatten().tolist()
        named = ", ".join(map(str, frames[:SHOWN])) + (", ..." if len(frames) > SHOWN else "")
        texts.append(
            f"slice {index}: coil {coil} holds only zeros in {len(frames)} of {len(dropped)} "
            f"frames ({named}); its samples there are predicted from the other coils and frames"
        )
    return texts


def _predict(series: Tensor, measured: Tensor, lost: Tensor, *, alike: bool) -> None:
    """Predict, in place, the last coil of (frame, coil, y, x) in the frames it dropped out of."""
    average = torch.zeros_like(series[0])
    if alike:
        count = measured[~lost].sum(0).clamp(min=1)
        average = (series[~lost] * measured[~lost][:, None]).sum(0) / count

    scale = series.abs().amax()

    def changes(t: int) -> tuple[Tensor, Tensor]:
        """Return predictors (predictor, sample) and targets (sample,) of a frame."""
        change = (series[t] - average) * measured[t] / scale
        shifts = [change[:-1].roll(shift, -1) for shift in range(-REACH, REACH + 1)]
        return torch.cat(shifts)[:, measured[t]], change[-1][measured[t]]

    weights = _fit([changes(t) for t in (~lost).nonzero().flatten().tolist()])

    for t in lost.nonzero().flatten().tolist():
        predicted = scale * (weights @ changes(t)[0])
        series[t, -1][measured[t]] = average[-1][measured[t]] + predicted


def _fit(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Fit weights w (predictor,): minimise `sum ||w P - c||^2` plus a small part of `||w||^2`."""
    normal = torch.stack([P.conj() @ P.T for P, _ in pairs]).sum(0)
    right = torch.stack([P.conj() @ change for P, change in pairs]).sum(0)

    energy = normal.diagonal().real.sum() / max(1, len(normal))
    normal.diagonal().add_(WEIGHT * energy + torch.finfo(energy.dtype).tiny)

    weights: Tensor = torch.linalg.solve(normal, right)
    return weights
