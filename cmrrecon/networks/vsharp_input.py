"""How vSHARP prepares k-space: which samples count, its first coil maps, and its scale.

The order of the steps is that of the official program (toolkit DIRECT). Its defaults apply where a
release says nothing, and some of them are easily missed: the Gaussian along the phase encoding, the
samples below a thousandth of the mean that are dropped, and the unmeasured zeros that count in the
percentile. All functions scale with their input.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cmrrecon.networks.layers import safe_root
from cmrrecon.networks.sensitivity import SensitivityNetwork, central, central_lines
from cmrrecon.networks.vsharp_unet import PlainUnet
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.tools.arrays import divisor

Calibration = Literal["lines", "fraction", "measured"]


@dataclass(frozen=True)
class InputRule:
    """How k-space is prepared, which the weights do not show.

    The defaults are those of the UNIFORM release; see `checkpoints.vsharp_release` for the others.

    Attributes
    ----------
    percentile : float
        K-space is divided by this quantile of the magnitudes, between 0 and 1.
    padding : float
        Samples whose magnitude is below this fraction of the mean are set to zero; 0 keeps all.
    padding_unmeasured : bool
        Whether such samples count as unmeasured, as they do if the official program draws the mask.
        Otherwise they count as measured zeros.
    gaussian : float
        The width of the Gaussian along the phase encoding that weights the calibration lines,
        relative to half the matrix; 0 uses no Gaussian.
    calibration : str
        The calibration lines unless their number is given: "lines" (`lines` of them, from
        W // 2 - lines // 2), "fraction" (`fraction` of all), or "measured" (the lines, or the
        rectangle of samples, that were measured around the centre).
    lines : int
        See `calibration`.
    fraction : float
        See `calibration`.
    unit_map : bool
        Whether the map of a single coil is 1 instead of its phase.
    """

    percentile: float = 0.995
    padding: float = 1e-3
    padding_unmeasured: bool = True
    gaussian: float = 0.7
    calibration: Calibration = "fraction"
    lines: int = 24
    fraction: float = 0.08
    unit_map: bool = False

    def __post_init__(self) -> None:
        for name in ("percentile", "padding", "fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1")
        if self.gaussian < 0:
            raise ValueError("gaussian must not be negative")

    def prepared(self, kspace: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Drop samples without signal.

        Parameters
        ----------
        kspace : Tensor of shape (batch, frame, coil, y, x), complex
            Zero where not measured.
        mask : Tensor of shape (batch, frame|1, y, x|1), bool
            The measured samples.

        Returns
        -------
        kspace : Tensor of shape (batch, frame, coil, y, x), complex
            The k-space without these samples.
        mask : Tensor of shape (batch, frame|1, y, x|1), bool
            The samples that data consistency uses.
        known : Tensor of shape (batch, frame|1, y, x|1), bool
            The samples that are not predicted: those of the mask, and those that were dropped.
        """
        if not self.padding:
            return kspace, mask, mask
        size = _ranked_modulus(kspace).sum((1, 2))[:, None]
        dropped = size < self.padding * size.mean((2, 3), keepdim=True)

        # All unmeasured samples are below the limit. A line mask stays one if nothing else is.
        if not bool((dropped & mask).any()):
            return kspace, mask, mask
        kept = mask & ~dropped if self.padding_unmeasured else mask
        return torch.where(dropped[:, :, None], 0, kspace), kept, mask

    def scale(self, y: Tensor) -> Tensor:
        """Return the divisor of every batch entry of k-space (batch, ...), shape (batch,).

        Of the n magnitudes of all coils with a signal, unmeasured zeros included, it is the one
        with the rank int((1 - percentile) n) + 1 from above.
        """
        return torch.stack([self._scale(entry) for entry in y])

    def _scale(self, y: Tensor) -> Tensor:
        coils = [coil for coil in y.unbind(1) if not _is_silent(coil)]
        if not coils:
            return y.real.new_zeros(())
        values = torch.cat([_ranked_modulus(coil).flatten() for coil in coils])
        rank = min(int((1 - self.percentile) * len(values)) + 1, len(values))
        place = len(values) - rank
        if values.device.type != "cpu":
            return values.kthvalue(place + 1).values

        # PyTorch copies the values, and numbers them.
        values.numpy().partition(place)
        return values[place].clone()

    def calibration_weights(self, mask: Tensor, acs: int | None) -> Tensor:
        """Return the weights of the samples in the first maps.

        Parameters
        ----------
        mask : Tensor of shape (batch, frame|1, h|1, w), bool
            The measured samples, with the phase encoding last.
        acs : int or None
            The number of calibration lines; None uses the rule.

        Returns
        -------
        Tensor of shape (batch, h|1, w), real
            The weights: 0 outside the calibration lines.
        """
        h, w = mask.shape[-2:]
        inside = self._lines(mask, acs)[:, None, :]
        if acs is None and self.calibration == "measured" and h > 1:
            column = mask.all(1)[:, :, w // 2]
            inside = inside & _around_centre(central_lines(column), h)[:, :, None]

        weights = inside.to(torch.float64)
        if self.gaussian:
            place = torch.linspace(-1, 1, w, dtype=torch.float64, device=mask.device)
            weights = weights * torch.exp(-((place / self.gaussian) ** 2))
        return weights

    def _lines(self, mask: Tensor, acs: int | None) -> Tensor:
        """Return which lines calibrate, (batch, w)."""
        h, w = mask.shape[-2:]
        if acs is None and self.calibration == "measured":
            return _around_centre(central_lines(mask.all(1)[:, h // 2]), w)

        of_rule = round(w * self.fraction) if self.calibration == "fraction" else self.lines
        size = torch.full(mask.shape[:1], min(of_rule if acs is None else acs, w))
        size = size.to(mask.device)
        if self.calibration == "fraction":
            return central(size, w, (w - size + 1) // 2)
        return _around_centre(size, w)


class RefinedMaps(SensitivityNetwork):
    """Coil maps from weighted calibration lines, refined by a U-Net that sees one coil at a time.

    Parameters
    ----------
    unet : PlainUnet or None
        The U-Net. None, or a single coil, uses the first maps.
    rule : InputRule
        How k-space is prepared.
    """

    def __init__(self, unet: PlainUnet | None, rule: InputRule) -> None:
        super().__init__(unet)
        self.rule = rule

    def first_images(self, kspace: Tensor, mask: Tensor, acs: int | None) -> Tensor:
        kept, _, _ = self.rule.prepared(kspace, mask)
        weights = self.rule.calibration_weights(mask.mT, acs)
        y = kept.mT
        if self.rule.unit_map and y.shape[2] == 1:
            return torch.ones_like(y, memory_format=torch.contiguous_format)

        images = y.new_empty(y.shape)
        for coils, samples in zip(images.unbind(1), y.unbind(1), strict=True):
            self._fill(coils, samples, weights)
        return images

    def _fill(self, images: Tensor, y: Tensor, weights: Tensor) -> None:
        """Compute the first maps of one frame (batch, coil, h, w).

        Their phase is badly conditioned where there is little signal: rounding errors of a
        transform in single precision would be amplified a thousand times.
        """
        # Coil by coil, double precision needs little memory.
        for image, samples in zip(images.unbind(1), y.unbind(1), strict=True):
            image.copy_(ifft2c(samples.to(torch.complex128) * weights))
        energy = torch.zeros_like(images[:, 0].real)
        for image in images.unbind(1):
            energy += image.real.square() + image.imag.square()
        images.div_(divisor(safe_root(energy)[:, None]))

    def refined(self, images: Tensor, together: int | None, again: bool) -> Tensor:
        if self.norm_unet is None or images.shape[2] == 1:
            return images
        return super().refined(images, together, again)

    def _memory(self, samples: Tensor) -> Tensor:
        assert isinstance(self.norm_unet, PlainUnet)
        return self.norm_unet.memory(len(samples), samples.shape[2:])

    def _images_of(self, samples: Tensor, memory: Tensor | None = None) -> Tensor:
        assert self.norm_unet is not None
        channels = torch.cat([samples.real, samples.imag], 1)
        parts = self.norm_unet(channels, memory).to(channels.dtype)
        return torch.complex(*parts.contiguous().chunk(2, 1))


def _around_centre(size: Tensor, length: int) -> Tensor:
    """Return (batch, length), true at `size` positions from length // 2 - size // 2 on."""
    return central(size, length, length // 2 - size // 2)


def _is_silent(coil: Tensor) -> bool:
    return float(torch.view_as_real(coil.resolve_conj()).sum()) == 0


def _ranked_modulus(x: Tensor) -> Tensor:
    """Return magnitudes that are rounded as in the official program, whose ranks count."""
    size: Tensor = torch.linalg.vector_norm(torch.view_as_real(x.resolve_conj()), dim=-1)
    return size
