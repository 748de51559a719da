"""The state dicts of vSHARP, as published for the toolkit DIRECT, in the names of all versions."""

import re
from collections.abc import Mapping
from typing import Any

from cmrrecon.networks.checkpoints.facts import Given, Inferred, Shapes
from cmrrecon.networks.checkpoints.filling import SHOWN
from cmrrecon.networks.checkpoints.foreign import text_of
from cmrrecon.networks.checkpoints.sizes import WHOLE, Sizes
from cmrrecon.networks.checkpoints.vsharp_release import (
    ACTIVATIONS,
    MISSING,
    PRESETS,
    STARTS,
    further_networks,
    model_of,
    rule_of,
)
from cmrrecon.tools.errors import InputError

__all__ = ["PRESETS", "TITLE", "infer", "recognises"]

TITLE = "vSHARP"
BEGINNINGS = ("denoiser_blocks.", "initializer.conv_blocks.", "initializer.out_block.")
NUMBERS = ("rho", "learning_rate_eta")
# Networks around vSHARP that direct has besides: weights that depend on the acceleration, and
# learned sampling.
ELSEWHERE = {
    "sampling_model.": "learned sampling",
    ".fc.": "modulated convolutions",
    "instance_norm.mlp.": "modulated norms",
}
DENOISER = re.compile(r"denoiser_blocks\.(\d+)\.(unet2d\.|unet3d\.)?(.*)")
MAPS = "sensitivity_model."
OUR_MAPS = "sens_net.norm_unet."
FIRST = "admm.denoiser_blocks.0."
# The names of all versions for the parts of a U-Net, and ours.
ALIASES = (
    (re.compile(r"(down_sample_layers\.\d+|conv)\.(?:layer_1\.conv|layers\.0)\.(weight)"),
     r"\1.layer_1.conv.\2"),
    (re.compile(r"(down_sample_layers\.\d+|conv)\.(?:layer_2\.conv|layers\.4)\.(weight)"),
     r"\1.layer_2.conv.\2"),
    (re.compile(r"(up_conv\.\d+)\.(?:0\.)?(?:layer_1\.conv|layers\.0)\.(weight)"),
     r"\1.layer_1.conv.\2"),
    (re.compile(r"(up_conv\.\d+)\.(?:0\.)?(?:layer_2\.conv|layers\.4)\.(weight)"),
     r"\1.layer_2.conv.\2"),
    (re.compile(r"(up_transpose_conv\.\d+)\.(?:conv|layers\.0|layer_1\.conv)\.(weight)"),
     r"\1.conv.\2"),
    (re.compile(r"(?:conv_out|up_conv\.\d+\.1)\.(weight|bias)"), r"conv_out.\1"),
)  # fmt: skip
OUT_BLOCK = re.compile(r"initializer\.out_block\.(?:0\.)?(weight|bias)")


def recognises(shapes: Shapes) -> bool:
    """Return whether the names are those of a vSHARP or of a network around it."""
    return any(name.startswith(BEGINNINGS) or name in NUMBERS for name in shapes)


def infer(shapes: Shapes, given: Given) -> Inferred:
    """Infer the network and its configuration.

    All sizes follow from names and shapes, and so does whether the head of a denoiser has a bias,
    for which the release may say something else. The dilations, the start, an activation without
    weights and the input rule come from the release.

    Raises
    ------
    InputError
        If it is another network of direct, a tensor that determines a size is missing, or the
        release belongs to another network (`checkpoint-mismatch`); if something does not follow
        from the tensors and there is no release (`release-missing`).
    """
    _refuse_others(shapes, given.source)
    names = {key: ours for key in shapes if (ours := _our_name(key)) is not None}
    sizes = Sizes({names.get(key, key): shape for key, shape in shapes.items()}, given.source)
    _require_bias(sizes)

    cascades = sizes.size("admm.rho", 0)
    parts = {
        **_denoisers(sizes, cascades),
        **_initialiser(sizes),
        "gradient_steps": sizes.size("admm.learning_rate_eta", 0),
        "standardised": _standardised(shapes, given.source),
        **_maps(sizes),
    }
    dims = len(sizes.shapes[f"{FIRST}conv.layer_1.conv.weight"]) - 2

    release = given.configuration(MISSING)
    _check_further_networks(parts, release, given)
    parts |= _released(sizes, parts, cascades, release, given)
    config = {"cascades": cascades, "sizes": parts, "rule": rule_of(release, given)}
    return Inferred("vsharp-3d" if dims == 3 else "vsharp", config, names)


def _our_name(key: str) -> str | None:
    """Return our name of a tensor, or None if direct has no such tensor."""
    denoiser = DENOISER.fullmatch(key)
    if denoiser is not None:
        inner = _unet_name(denoiser[3])
        return inner and f"admm.denoiser_blocks.{denoiser[1]}.{inner}"
    if key.startswith(MAPS):
        inner = _unet_name(key.removeprefix(MAPS))
        return inner and f"{OUR_MAPS}{inner}"

    out = OUT_BLOCK.fullmatch(key)
    if out is not None:
        return f"admm.initializer.out_block.{out[1]}"
    if key in NUMBERS or key.startswith("initializer."):
        return f"admm.{key}"
    return None


def _unet_name(name: str) -> str | None:
    """Return our name of a tensor in a U-Net, or None if there is no such tensor."""
    for pattern, ours in ALIASES:
        match = pattern.fullmatch(name)
        if match is not None:
            return match.expand(ours)
    return None


def _refuse_others(shapes: Shapes, source: str) -> None:
    for part, network in ELSEWHERE.items():
        key = next((key for key in shapes if part in key), None)
        if key is not None:
            raise InputError(
                "checkpoint-mismatch",
                f"{source} is a vSHARP with {network}: it has {key:.{SHOWN}}",
                "Only plain vSHARP is supported",
                "Use another release, such as NKI-AI/direct-uniform",
            )


def _require_bias(sizes: Sizes) -> None:
    bias = "admm.initializer.out_block.bias"
    if bias not in sizes.shapes:
        raise InputError(
            "checkpoint-mismatch",
            f"{sizes.source} lacks initializer.out_block.bias",
            "The network was trained with it; a script of direct that renames tensors loses it",
            "Use the checkpoint before it was renamed; both naming schemes are read",
        )


def _denoisers(sizes: Sizes, cascades: int) -> dict[str, Any]:
    blocks = sizes.count("admm.denoiser_blocks.*.")
    if blocks not in (1, cascades):
        found = f"{sizes.source} has {blocks} denoisers for {cascades} steps"
        raise InputError("checkpoint-mismatch", found, *WHOLE)
    bottom = f"{FIRST}conv.layer_1.conv.weight"
    sizes.size(bottom, 3)
    return {
        "filters": sizes.size(f"{FIRST}down_sample_layers.0.layer_1.conv.weight", 0),
        "pools": sizes.count(f"{FIRST}down_sample_layers.*."),
        "head_bias": f"{FIRST}conv_out.bias" in sizes.shapes,
        "shared": blocks == 1 < cascades,
    }


def _standardised(shapes: Shapes, source: str) -> bool:
    """Return whether the denoisers are NORMUNETs; refuse a mixture."""
    inner = {match[2] for match in map(DENOISER.fullmatch, shapes) if match}
    if len(inner) > 1:
        raise InputError(
            "checkpoint-mismatch",
            f"{source} has denoisers of different architectures",
            "All denoisers of a network are alike",
            "Save the state dict of the network alone",
        )
    return inner != {None}


def _initialiser(sizes: Sizes) -> dict[str, Any]:
    blocks = sizes.count("admm.initializer.conv_blocks.*.")
    channels = [
        sizes.size(f"admm.initializer.conv_blocks.{block}.1.weight", 0) for block in range(blocks)
    ]
    combined = sizes.size("admm.initializer.out_block.weight", 1)
    outputs = next((m for m in range(1, blocks + 1) if sum(channels[-m:]) == combined), None)
    if outputs is None:
        found = f"{sizes.source} combines {combined} channels of {channels} in its initialiser"
        raise InputError("checkpoint-mismatch", found, *WHOLE)
    return {"initialiser_channels": channels, "initialiser_outputs": outputs}


def _maps(sizes: Sizes) -> dict[str, Any]:
    if not any(name.startswith(OUR_MAPS) for name in sizes.shapes):
        return {"sensitivity_filters": 0}
    first = f"{OUR_MAPS}down_sample_layers.0.layer_1.conv.weight"
    return {
        "sensitivity_filters": sizes.size(first, 0),
        "sensitivity_pools": sizes.count(f"{OUR_MAPS}down_sample_layers.*."),
    }


def _released(
    sizes: Sizes, parts: Mapping[str, Any], cascades: int, release: Mapping[str, Any], given: Given
) -> dict[str, Any]:
    """Return what the model section of the release adds, and refuse it if it contradicts."""
    model = model_of(release, given)
    known = {
        "num_steps": cascades,
        "num_steps_dc_gd": parts["gradient_steps"],
        "initializer_channels": parts["initialiser_channels"],
        "initializer_multiscale": parts["initialiser_outputs"],
        **{f"{kind}num_filters": parts["filters"] for kind in ("image_unet_", "unet_")},
        **{f"{kind}num_pool_layers": parts["pools"] for kind in ("image_unet_", "unet_")},
    }
    contradicted = next((key for key, value in known.items() if model.get(key, value) != value), "")
    if contradicted:
        raise InputError(
            "checkpoint-mismatch",
            f"The tensors in {given.source} have {contradicted} {known[contradicted]}, its release "
            f"has {text_of(model[contradicted])}",
            "They must belong together",
            "Give the YAML file of these weights",
        )

    if model.get("image_unet_conv_out_bias") is True and not parts["head_bias"]:
        raise InputError(
            "checkpoint-mismatch",
            f"{given.source} lacks conv_out.bias, which its release has",
            "The network was trained with it",
            "Give the complete checkpoint, or the YAML file of these weights",
        )

    learned = "admm.initializer.activation.weight" in sizes.shapes
    activation = "PRELU" if learned else _stated(model, "initializer_activation", given)
    images = model.get("auxiliary_steps", -1)
    return {
        "initialiser_dilations": _stated(model, "initializer_dilations", given),
        "activation": _one_of(ACTIVATIONS, activation, "initializer_activation", given),
        "start": _one_of(STARTS, model.get("image_init", "SENSE"), "image_init", given),
        "images": None if images == -1 else images,
    }


def _check_further_networks(
    parts: Mapping[str, Any], release: Mapping[str, Any], given: Given
) -> None:
    """Refuse a file that lacks a network of its release, or has it in another size."""
    for name, section in further_networks(release).items():
        if f"{name}." != MAPS or not parts["sensitivity_filters"]:
            raise InputError(
                "checkpoint-mismatch",
                f"{given.source} lacks the {name:.{SHOWN}} that its release has",
                "A checkpoint holds all networks of its release",
                "Give the complete checkpoint, or the YAML file of these weights",
            )

        sizes = section if isinstance(section, Mapping) else {}
        for key, ours in (("num_filters", "filters"), ("num_pool_layers", "pools")):
            found = parts[f"sensitivity_{ours}"]
            if sizes.get(key, found) != found:
                raise InputError(
                    "checkpoint-mismatch",
                    f"The {name} in {given.source} has {key} {found}, its release has "
                    f"{text_of(sizes[key])}",
                    "They must belong together",
                    "Give the YAML file of these weights",
                )


def _stated(model: Mapping[str, Any], key: str, given: Given) -> Any:
    if key not in model:
        raise InputError(
            "release-missing",
            f"The release of {given.source} does not state model.{key}",
            "The tensors do not show it",
            "Give the YAML file that was published with the weights",
        )
    return model[key]


def _one_of(known: Mapping[str, str], value: Any, key: str, given: Given) -> str:
    if not isinstance(value, str) or value not in known:
        raise InputError(
            "checkpoint-mismatch",
            f"The release of {given.source} has the {key} {text_of(value)}",
            f"The known values are: {', '.join(known)}",
            "Other values are not supported",
        )
    return known[value]
