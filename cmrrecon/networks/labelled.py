"""Networks that also need to know how a scan was acquired."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cmrrecon.networks.base import Output, WindowNetwork


@dataclass(frozen=True)
class Labels:
    """What such a network is given beside the k-space; None where unknown.

    Attributes
    ----------
    pattern : str or None
        Name of the sampling pattern, in any style that contains the official word: `kt-radial` or
        `ktRadial`.
    acceleration : float or None
        Nominal R.
    modality : str or None
        Official name of the modality, such as `Cine`; upper and lower case are the same.
    """

    pattern: str | None = None
    acceleration: float | None = None
    modality: str | None = None


class LabelledNetwork(WindowNetwork):
    """A network for windows that needs `Labels`."""

    @abstractmethod
    def forward(
        self,
        kspace: Tensor,
        mask: Tensor,
        acs: int | None = None,
        maps: Tensor | None = None,
        labels: Sequence[Labels] = (),
    ) -> Output:
        """Reconstruct the middle frame of a window; see `WindowNetwork.forward`.

        Parameters
        ----------
        kspace, mask, acs, maps : Tensor, int or None
            See `WindowNetwork.forward`.
        labels : sequence of Labels
            The labels of each window of the batch, or of all of them together.

        Returns
        -------
        Output
            The result for the middle frame.

        Raises
        ------
        UsageError
            If the shapes do not match (`shape-mismatch`), the number of frames is wrong
            (`window-width`), or the modality is unknown (`unknown-modality`).
        """

    @abstractmethod
    def unknown(self, labels: Labels) -> tuple[str, ...]:
        """Return sentences about labels that the network was not trained with.

        Raises
        ------
        UsageError
            If the modality is unknown (`unknown-modality`).
        """
