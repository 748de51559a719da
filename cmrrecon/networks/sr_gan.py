"""SR-GAN: stepwise reconstruction with a Patch-GAN, the ancestor of GENRE-CMR (Anvari Hamedani et al., STACOM 2024, arXiv 2411.10787).

Only its abstract is public. The GENRE-CMR paper extends it by the residual connections and scores its own baseline as SR-GAN to the
last digit, so SR-GAN is taken to be GENRE-CMR without residual connections; its number of cascades is not known.
"""

from typing import Any

from cmrrecon.networks.genre_cmr import GenreCMR


class SRGAN(GenreCMR):
    """GENRE-CMR with `residual` "none"; the other parameters are the same."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**{"residual": "none", **parameters})
