"""How large the networks of the catalogue are in their default configuration.

To build them takes seconds and needs torch. These numbers are written down instead, and a test
compares them with the networks.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

BYTES_A_PARAMETER = 4


class Size(NamedTuple):
    """The size of a network.

    Attributes
    ----------
    cascades : int or None
        Unrolled iterations; None for networks without.
    parameters, trainable : int
        Numbers of its float32 parameters, and of those that training changes.
    """

    cascades: int | None
    parameters: int
    trainable: int

    @property
    def weights_mib(self) -> float:
        """Memory of the weights in MiB."""
        return round(self.parameters * BYTES_A_PARAMETER / 2**20, 1)


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "promptmr": Size(12, 81_528_317, 71_160_317),
        "promptmr-plus": Size(12, 92_859_005, 82_491_005),
        "genre-cmr": Size(16, 108_082_769, 108_082_768),
        "sr-gan": Size(16, 108_082_769, 108_082_753),
        "hypercmr": Size(12, 81_528_317, 71_160_317),
        "e2e-varnet": Size(12, 29_936_966, 29_936_966),
        "vsharp": Size(12, 100_912_691, 100_912_691),
        "vsharp-3d": Size(10, 233_714_603, 233_714_603),
        "unet": Size(None, 7_756_097, 7_756_097),
        "fidelity-unet": Size(None, 7_766_242, 7_766_242),
        "lf-mri": Size(6, 8_735_964, 8_321_244),
        "kt-unrolled": Size(2, 229_457, 229_457),
        "sdum": Size(18, 758_914_380, 758_914_380),
        "patch-gan": Size(None, 2_763_713, 2_763_713),
    }
)
