"""The sizes of a vSHARP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cmrrecon.networks.vsharp_unet import Activation

Start = Literal["sense", "zero-filled"]


@dataclass(frozen=True)
class VSharpSizes:
    """The parts of a vSHARP; the defaults are those of the UNIFORM release.

    Attributes
    ----------
    gradient_steps : int
        The number of eta_k.
    filters, pools : int
        The sizes of the denoisers; see `PlainUnet`.
    head_bias, standardised : bool
        Further properties of the denoisers; see `PlainUnet`.
    shared : bool
        Whether all steps have the same denoiser.
    start : str
        The first x: "sense" (A^H y), or "zero-filled" (the sum of the coil images, without maps).
    initialiser_channels, initialiser_dilations : sequence of int
        The layers of the initialiser; see `Initialiser`.
    initialiser_outputs : int
        See `Initialiser`.
    activation : str
        See `Initialiser`.
    sensitivity_filters, sensitivity_pools : int
        The sizes of the U-Net for the maps. With 0 filters there is none.
    images : int or None
        The number of last steps whose images enter the losses; None means all.
    """

    gradient_steps: int = 10
    filters: int = 32
    pools: int = 4
    head_bias: bool = True
    standardised: bool = False
    shared: bool = False
    start: Start = "sense"
    initialiser_channels: Sequence[int] = (32, 32, 64, 64)
    initialiser_dilations: Sequence[int] = (1, 1, 2, 4)
    initialiser_outputs: int = 1
    activation: Activation = "prelu"
    sensitivity_filters: int = 32
    sensitivity_pools: int = 4
    images: int | None = None

    def __post_init__(self) -> None:
        if len(self.initialiser_channels) != len(self.initialiser_dilations):
            raise ValueError("initialiser_channels and initialiser_dilations must be equally long")
        if not 1 <= self.initialiser_outputs <= len(self.initialiser_channels):
            raise ValueError("initialiser_outputs must be between 1 and the number of layers")
        if min(self.initialiser_dilations) < 1:
            raise ValueError("initialiser_dilations must be at least 1")
        if self.images is not None and self.images < 1:
            raise ValueError("images must be at least 1")
