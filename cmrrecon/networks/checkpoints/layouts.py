"""Which PromptMR or PromptMR+ a state dict belongs to, read from its names and shapes alone."""

import re
from collections.abc import Mapping
from typing import Any

from cmrrecon.tools.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]
CASCADE = "cascades.0.model.unet."
MAPS = "sens_net.norm_unet.unet."
LEVELS = (1, 2, 3)
# The U-Nets of PromptMR+ see this many images a frame, real and imaginary parts as channels.
SLOTS = 5


def infer(shapes: Shapes, source: str) -> tuple[str, dict[str, Any]]:
    """The name of the network in the catalogue, and its configuration except for the variant, which shapes do not tell.

    Joint maps show the number of frames. Without them, a U-Net that sees a multiple of ten channels for an odd number of frames,
    three or more, is taken to have the adaptive input: the other reading is a plain window of 15 frames or more.

    Parameters
    ----------
    shapes : name to shape of every tensor
    source : what is read, for messages

    Raises
    ------
    InputError : this is neither network, or a tensor is missing that tells a size or number
    """
    for prefix in (CASCADE, MAPS):
        if f"{prefix}feat_extract.weight" not in shapes:
            raise InputError(
                "checkpoint-mismatch",
                f"{source} is of another network: it has no {prefix}feat_extract.weight",
                "The state dict of a PromptMR or PromptMR+ is needed",
                "Networks of other kinds are loaded from the files that cmrrecon writes",
            )

    def size(name: str, axis: int) -> int:
        shape = shapes.get(name, ())
        if axis >= len(shape):
            raise InputError(
                "checkpoint-mismatch",
                f"{source} lacks {name}, or its shape {shape} has too few axes",
                "Every tensor of the network is needed",
                "Fetch the checkpoint again",
            )
        return shape[axis]

    def count(pattern: str) -> int:
        """How many numbers, 0, 1, .. without a gap, stand where the pattern, plain text otherwise, has a star."""
        expression = re.compile(re.escape(pattern).replace(r"\*", r"(\d+)"))
        found = {match[1] for match in map(expression.match, shapes) if match}
        if not found:
            raise InputError(
                "checkpoint-mismatch",
                f"{source} lacks all blocks {pattern}",
                "Every tensor of the network is needed",
                "Fetch the checkpoint again",
            )
        missing = next((str(index) for index in range(len(found)) if str(index) not in found), None)
        if missing is not None:
            raise InputError(
                "checkpoint-mismatch",
                f"{source} lacks the block {pattern.replace('*', missing)}, and has a later one",
                "Every tensor of the network is needed",
                "Fetch the checkpoint again",
            )
        return len(found)

    def unet(prefix: str) -> dict[str, Any]:
        prompts = [f"{prefix}prompt_level{level}.prompt_param" for level in LEVELS]
        return {
            "features": size(f"{prefix}feat_extract.weight", 0),
            "dims": [size(f"{prefix}enc_level{level}.down.weight", 0) for level in LEVELS],
            "prompt_dims": [size(prompt, 2) for prompt in prompts],
            "prompt_lengths": [size(prompt, 1) for prompt in prompts],
            "prompt_sizes": [size(prompt, 3) for prompt in prompts],
            "encoder_blocks": [count(f"{prefix}enc_level{level}.encoder.*.") for level in LEVELS],
            "decoder_blocks": [count(f"{prefix}dec_level{level}.fuse.*.") for level in LEVELS],
            "skip_blocks": [count(f"{prefix}skip_attn{level}.skip_attn.*.") for level in LEVELS],
            "bottleneck_blocks": count(f"{prefix}bottleneck.*."),
            "attention": any(name.startswith(prefix) and ".CA." in name for name in shapes),
        }

    channels, of_maps = (size(f"{prefix}feat_extract.weight", 1) for prefix in (CASCADE, MAPS))
    momentum = f"{CASCADE}dec_level3.momentum.0.weight"
    history = size(momentum, 1) // max(size(momentum, 0), 1) - 1 if momentum in shapes else 0
    joint = of_maps != 2
    if joint:
        frames, adaptive = of_maps // 2, channels != of_maps
    else:
        adaptive = channels % (2 * SLOTS) == 0 and channels // (2 * SLOTS) % 2 == 1 and channels > 2 * SLOTS
        frames = channels // (2 * SLOTS if adaptive else 2)
    if channels != frames * 2 * (SLOTS if adaptive else 1):
        raise InputError(
            "checkpoint-mismatch",
            f"{source} has U-Nets that see {channels} channels for {frames} frames",
            f"PromptMR has 2 a frame, PromptMR+ {2 * SLOTS} (a buffer of 4)",
            "Other buffers are not supported",
        )
    config: dict[str, Any] = {
        "cascades": count("cascades.*."),
        "frames": frames,
        "unet": unet(CASCADE),
        "sensitivity_unet": unet(MAPS),
    }
    if not (adaptive or joint or history):
        return "promptmr", config
    return "promptmr-plus", {**config, "history": history, "adaptive": adaptive, "joint_maps": joint}
