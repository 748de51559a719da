"""The state dicts of PromptMR and PromptMR+."""

from collections.abc import Mapping
from typing import Any

from cmrrecon.networks.checkpoints.facts import Given, Inferred, Shapes
from cmrrecon.networks.checkpoints.foreign import text_of, variant_of
from cmrrecon.networks.checkpoints.sizes import Sizes
from cmrrecon.tools.errors import InputError

CASCADE = "cascades.0.model.unet."
MAPS = "sens_net.norm_unet.unet."
LEVELS = (1, 2, 3)
# The U-Nets of PromptMR+ see this many images for each frame, with real and imaginary parts as
# channels.
SLOTS = 5
TITLE = "PromptMR or PromptMR+"
# Nothing but the variant is missing in a state dict.
PRESETS: Mapping[str, Mapping[str, Any]] = {}


def recognises(shapes: Shapes) -> bool:
    """Return whether the names are those of a PromptMR or PromptMR+."""
    return any(name.startswith((CASCADE, MAPS)) for name in shapes)


def infer(shapes: Shapes, given: Given) -> Inferred:
    """Infer the network and its configuration.

    Joint maps reveal the number of frames. Without joint maps, the adaptive input is assumed if the
    number of the U-Net's channels is a multiple of ten that corresponds to an odd number of at
    least three frames: the alternative would be a plain window of 15 or more frames. The variant
    does not follow from names and shapes. It is the requested one, or that of the repository.

    Raises
    ------
    InputError
        If a tensor that determines a size or number is missing, or if there are fewer cascades than
        the hyper-parameters state (`checkpoint-mismatch`); if the version of PromptMR+ is unknown
        (`unknown-variant`).
    """
    layout = _Layout(shapes, given.source)
    for prefix in (CASCADE, MAPS):
        layout.require(f"{prefix}feat_extract.weight")

    frames, joint, adaptive = layout.window()
    history = layout.history()
    cascades = layout.count("cascades.*.")
    if given.parameters.get("num_cascades", cascades) != cascades:
        raise InputError(
            "checkpoint-mismatch",
            f"{given.source} has {cascades} cascades, "
            f"not {text_of(given.parameters['num_cascades'])}",
            "All cascades stated in its hyper-parameters are needed",
            "Download the checkpoint again",
        )

    config: dict[str, Any] = {
        "cascades": cascades,
        "frames": frames,
        "unet": layout.unet(CASCADE),
        "sensitivity_unet": layout.unet(MAPS),
    }
    name = "promptmr"
    if adaptive or joint or history:
        name = "promptmr-plus"
        config |= {"history": history, "adaptive": adaptive, "joint_maps": joint}

    variant, reason = given.variant, "as requested"
    if variant is None:
        variant, reason = variant_of(given.parameters)
    if variant is not None:
        config["variant"] = variant
    return Inferred(name, config, facts={"variant_from": reason})


class _Layout(Sizes):
    """The names and shapes of a state dict; see `infer`."""

    def require(self, name: str) -> None:
        if name not in self.shapes:
            raise InputError(
                "checkpoint-mismatch",
                f"{self.source} belongs to another network: it has no {name}",
                "The state dict of a PromptMR or PromptMR+ is needed",
                "Load other networks from files that cmrrecon wrote",
            )

    def unet(self, prefix: str) -> dict[str, Any]:
        """Return the configuration of the U-Net whose names have this prefix."""
        prompts = [f"{prefix}prompt_level{level}.prompt_param" for level in LEVELS]

        return {
            "features": self.size(f"{prefix}feat_extract.weight", 0),
            "dims": [self.size(f"{prefix}enc_level{level}.down.weight", 0) for level in LEVELS],
            "prompt_dims": [self.size(prompt, 2) for prompt in prompts],
            "prompt_lengths": [self.size(prompt, 1) for prompt in prompts],
            "prompt_sizes": [self.size(prompt, 3) for prompt in prompts],
            "encoder_blocks": [
                self.count(f"{prefix}enc_level{level}.encoder.*.") for level in LEVELS
            ],
            "decoder_blocks": [self.count(f"{prefix}dec_level{level}.fuse.*.") for level in LEVELS],
            "skip_blocks": [
                self.count(f"{prefix}skip_attn{level}.skip_attn.*.") for level in LEVELS
            ],
            "bottleneck_blocks": self.count(f"{prefix}bottleneck.*."),
            "attention": any(name.startswith(prefix) and ".CA." in name for name in self.shapes),
        }

    def history(self) -> int:
        """Return how many earlier cascades the decoders see."""
        momentum = f"{CASCADE}dec_level3.momentum.0.weight"
        if momentum not in self.shapes:
            return 0
        return self.size(momentum, 1) // max(self.size(momentum, 0), 1) - 1

    def window(self) -> tuple[int, bool, bool]:
        """Return the number of frames, whether the maps are joint and the input is adaptive."""
        channels, of_maps = (
            self.size(f"{prefix}feat_extract.weight", 1) for prefix in (CASCADE, MAPS)
        )

        joint = of_maps != 2
        if joint:
            frames, adaptive = of_maps // 2, channels != of_maps
        else:
            adaptive = (
                channels % (2 * SLOTS) == 0
                and channels // (2 * SLOTS) % 2 == 1
                and channels > 2 * SLOTS
            )
            frames = channels // (2 * SLOTS if adaptive else 2)

        if channels != frames * 2 * (SLOTS if adaptive else 1):
            raise InputError(
                "checkpoint-mismatch",
                f"{self.source} has U-Nets with {channels} channels for {frames} frames",
                f"PromptMR has 2 for each frame, PromptMR+ {2 * SLOTS} (a buffer of 4)",
                "Other buffers are not supported",
            )

        return frames, joint, adaptive
