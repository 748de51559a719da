"""Coils that drop out of single frames: what they would have measured there."""

import torch
from torch import Tensor

# Neighbours along the readout that predict a sample, on both sides, and the Tikhonov weight
# relative to the mean energy of the predictors.
REACH = 1
WEIGHT = 1e-4
# Frames that a message lists.
SHOWN = 5


def filled(kspace: Tensor, samples: Tensor, dropped: Tensor, *, alike: bool = True) -> Tensor:
    """K-space with the samples of dropped coils predicted; nothing else changes.

    A coil has its own time average, and on top of it the changes over time that the other coils see
    there: a linear combination of them, fitted in the frames where it is alive.

    Parameters
    ----------
    kspace : Tensor (frame, coil, y, x), complex
    samples : Tensor (frame|1, y, x|1) bool, what was measured
    dropped : Tensor (frame, coil) bool, coils without data in a frame that have some in others
    alike : whether a place (y, x) is the same in all frames, which spokes need not be
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
    """What to tell the user of dropped coils (frame, coil) of slice `index`, a sentence a coil."""
    texts = []
    for coil in dropped.any(0).nonzero().flatten().tolist():
        frames = dropped[:, coil].nonzero().flatten().tolist()
        named = ", ".join(map(str, frames[:SHOWN])) + (", ..." if len(frames) > SHOWN else "")
        texts.append(
            f"slice {index}: coil {coil} holds only zeros in {len(frames)} of {len(dropped)} frames "
            f"({named}); its samples there are predicted from the other coils and frames"
        )
    return texts


def _predict(series: Tensor, measured: Tensor, lost: Tensor, *, alike: bool) -> None:
    """Predict the last coil of (frame, coil, y, x) in the frames where it was lost, in place."""
    average = torch.zeros_like(series[0])
    if alike:
        count = measured[~lost].sum(0).clamp(min=1)
        average = (series[~lost] * measured[~lost][:, None]).sum(0) / count

    scale = series.abs().amax()

    def changes(t: int) -> tuple[Tensor, Tensor]:
        """What predicts (predictor, sample) and what is to be predicted (sample,) in a frame."""
        change = (series[t] - average) * measured[t] / scale
        shifts = [change[:-1].roll(shift, -1) for shift in range(-REACH, REACH + 1)]
        return torch.cat(shifts)[:, measured[t]], change[-1][measured[t]]

    weights = _fit([changes(t) for t in (~lost).nonzero().flatten().tolist()])

    for t in lost.nonzero().flatten().tolist():
        predicted = scale * (weights @ changes(t)[0])
        series[t, -1][measured[t]] = average[-1][measured[t]] + predicted


def _fit(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Weights w (predictor,) that minimise sum ||w P - c||^2 + a small multiple of ||w||^2."""
    normal = torch.stack([P.conj() @ P.T for P, _ in pairs]).sum(0)
    right = torch.stack([P.conj() @ change for P, change in pairs]).sum(0)

    energy = normal.diagonal().real.sum() / max(1, len(normal))
    normal.diagonal().add_(WEIGHT * energy + torch.finfo(energy.dtype).tiny)

    weights: Tensor = torch.linalg.solve(normal, right)
    return weights
