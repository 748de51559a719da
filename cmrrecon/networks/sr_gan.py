"""SR-GAN: stepwise reconstruction with a Patch-GAN, the predecessor of GENRE-CMR.

Only the abstract was available to us. The GENRE-CMR paper adds residual connections, and its
baseline without them has exactly the scores of SR-GAN. We therefore assume that SR-GAN is GENRE-CMR
without residual connections. Its numbers of cascades and frames are unknown, and we do not know
whether it had prompts.

References: Anvari Hamedani et al., STACOM 2024, arXiv 2411.10787.
"""

from cmrrecon.networks.genre_cmr import GenreCMR
from cmrrecon.networks.prompt_unet import CASCADE_UNET, SENSITIVITY_UNET, UnetConfig


class SRGAN(GenreCMR):
    """GENRE-CMR with `residual` set to "none"; the other parameters are the same."""

    def __init__(
        self,
        *,
        cascades: int = 16,
        frames: int = 5,
        trainable_prompts: bool = True,
        unet: UnetConfig = CASCADE_UNET,
        sensitivity_unet: UnetConfig = SENSITIVITY_UNET,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(
            cascades=cascades,
            frames=frames,
            residual="none",
            trainable_prompts=trainable_prompts,
            unet=unet,
            sensitivity_unet=sensitivity_unet,
            checkpointing=checkpointing,
        )
        for key in ("residual", "gate"):
            del self.config[key]
