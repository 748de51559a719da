"""Networks for windows that also need to know how the scan was acquired."""

from dataclasses import dataclass
from typing import Annotated, Any

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import Series
from cmrrecon.methods.network import NetworkOptions, refuse_acs
from cmrrecon.methods.window_network import WindowNetworkMethod
from cmrrecon.networks.labelled import Labels
from cmrrecon.tools.configuration import AtLeast


@dataclass(frozen=True)
class LabelledOptions(NetworkOptions):
    """Options of networks with labels; see `NetworkOptions` for the others.

    Attributes
    ----------
    pattern : str or None
        Sampling pattern; None uses the one in the names of the scan or its mask.
    acceleration : float or None
        Nominal R; None uses the one in these names.
    modality : str or None
        Official modality, such as Cine; None uses the one in the names of folder or file.
    """

    pattern: str | None = None
    acceleration: Annotated[float, AtLeast(1)] | None = None
    modality: str | None = None


@dataclass(eq=False)
class LabelledNetworkMethod(WindowNetworkMethod):
    """A `LabelledNetwork` as a method."""

    Options = LabelledOptions

    def check(self, series: Series, options: NetworkOptions) -> None:
        """Refuse a series that the network cannot reconstruct.

        Raises
        ------
        UsageError
            See `NetworkMethod.check`; also if the modality is unknown (`unknown-modality`), or the
            option `acs` was set (`option-value`).
        """
        super().check(series, options)
        refuse_acs(self.name, options)
        self.trained.unknown(labels_of(series, options))

    def cautions(self, prepared: PreparedSeries, options: NetworkOptions) -> tuple[str, ...]:
        """Return a warning for every label that the network was not trained with."""
        found: tuple[str, ...] = self.trained.unknown(labels_of(prepared.series, options))
        return found

    def beside(self, series: Series, options: NetworkOptions) -> dict[str, Any]:
        """Return the labels, the same for all windows."""
        return {"labels": [labels_of(series, options)]}


def labels_of(series: Series, options: NetworkOptions) -> Labels:
    """Return the labels of a series: those in the options, otherwise those in its names."""
    assert isinstance(options, LabelledOptions)
    known = series.acquisition
    return Labels(
        options.pattern or known.pattern,
        options.acceleration or known.acceleration,
        options.modality or known.modality,
    )
