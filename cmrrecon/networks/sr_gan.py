"""SR-GAN: stepwise reconstruction with a Patch-GAN, the ancestor of GENRE-CMR (Anvari Hamedani et al., STACOM 2024, arXiv 2411.10787).

We had only its abstract. The GENRE-CMR paper extends it by the residual connections and scores its own baseline as SR-GAN to the
last digit, so SR-GAN is taken to be GENRE-CMR without residual connections; its numbers of cascades and frames, and whether it had
prompts, are not known.
"""

from cmrrecon.networks.genre_cmr import GenreCMR
from cmrrecon.networks.prompt_unet import CASCADE_UNET, SENSITIVITY_UNET, UnetConfig


class SRGAN(GenreCMR):
    """GENRE-CMR with `residual` "none"; the other parameters are the same."""

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
