"""The state dicts of SDUM, as published in NV-Raw2Insights."""

import re
from collections.abc import Mapping
from typing import Any

from cmrrecon.networks.checkpoints.facts import Given, Inferred, Shapes
from cmrrecon.networks.checkpoints.foreign import refuse_mixed
from cmrrecon.networks.checkpoints.sizes import Sizes
from cmrrecon.networks.sdum_labels import ALL_MODALITIES, MODALITIES, PATTERNS
from cmrrecon.tools.errors import InputError

# The conditioned networks have this prefix before the one of every cascade.
PREFIX = "recon_model."
NAMES = re.compile(r"(recon_model\.)?cascades\.\d+\.(dc_weight_map|coil_sensitivity|recon_model)")
FIRST = "cascades.0."
IMAGES = f"{FIRST}recon_model."
MAPS = f"{FIRST}coil_sensitivity_model.conv_net.unet."
TITLE = "SDUM"
# The configurations of the releases: the order of the modalities, which are the labels of the
# training, and what distinguishes the releases.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "sdum-small": {"acq_types": ALL_MODALITIES, "num_cascades": 6, "flow": False},
    "sdum-base": {"acq_types": MODALITIES, "num_cascades": 18, "flow": True},
    "sdum-large": {"acq_types": MODALITIES, "num_cascades": 34, "flow": True},
}
# Sizes of the releases, and the number of cascades of Base and Large.
PUBLISHED = {
    "frames": 5, "channels": [256, 512], "blocks": [3, 6], "heads": [1, 2], "refinement": 2,
}  # fmt: skip
CONDITIONED = (18, 34)
# The names that the configurations of the releases have for ours.
RELEASED = {
    "num_cascades": "cascades",
    "num_frames": "frames",
    "channels": "channels",
    "num_blocks": "blocks",
    "num_heads": "heads",
    "num_refinement": "refinement",
    "flow": "conditioned",
}


def recognises(shapes: Shapes) -> bool:
    """Return whether the names are those of an SDUM."""
    return any(NAMES.match(name) for name in shapes)


def infer(shapes: Shapes, given: Given) -> Inferred:
    """Infer the network and its configuration.

    All sizes follow from names and shapes. The modalities do not. They are those of the release's
    configuration; without one, those of Base and Large for networks of these sizes, and all of
    CMRxRecon for networks without a condition, which ignore them.

    Raises
    ------
    InputError
        If a tensor that determines a size or number is missing, or the release's configuration
        belongs to another network (`checkpoint-mismatch`); if the modalities are not known
        (`release-missing`).
    """
    names = {key: key.removeprefix(PREFIX) for key in shapes if key.startswith(f"{PREFIX}cascades")}
    sizes = Sizes({names.get(key, key): shape for key, shape in shapes.items()}, given.source)
    if names:
        refuse_mixed([key for key in shapes if NAMES.match(key)], PREFIX)

    config = _config(sizes)
    config["modalities"] = list(_modalities(config, given))
    return Inferred("sdum", config, names)


def _config(sizes: Sizes) -> dict[str, Any]:
    """Return the configuration, except for the modalities."""
    levels = range(sizes.count(f"{IMAGES}encoders.*.0.norm1.weight"))
    first = [f"{IMAGES}encoders.{level}.0." for level in levels]
    channels = [sizes.size(f"{block}norm1.weight", 0) for block in first]
    hidden = [sizes.size(f"{block}ffn.project_out.weight", 1) for block in first]

    weights = [sizes.size(f"{FIRST}dc_weight_map", axis) for axis in (0, 3, 4)]
    if weights[0] != len(PATTERNS):
        raise InputError(
            "checkpoint-mismatch",
            f"{sizes.source} has weights of data consistency for {weights[0]} patterns",
            f"There are {len(PATTERNS)}: {', '.join(PATTERNS)}",
            "Other variants are not supported",
        )

    features = [sizes.size(f"{MAPS}conv_0.conv_0.conv.weight", 0)]
    while (name := f"{MAPS}down_{len(features)}.convs.conv_0.conv.weight") in sizes.shapes:
        features.append(sizes.size(name, 0))

    return {
        "cascades": sizes.count("cascades.*."),
        "frames": sizes.size(f"{IMAGES}embed_conv.weight", 1) // 2,
        "channels": channels,
        "blocks": [sizes.count(f"{IMAGES}encoders.{level}.*.norm1.weight") for level in levels],
        "heads": [sizes.size(f"{block}attn.temperature", 1) for block in first],
        "refinement": sizes.count(f"{IMAGES}refinement.*.norm1.weight"),
        "ratio": max(h / max(c, 1) for h, c in zip(hidden, channels, strict=True)),
        "map_features": features,
        "map_size": weights[1:],
        "conditioned": f"{IMAGES}time_embed.0.weight" in sizes.shapes,
    }


def _modalities(config: Mapping[str, Any], given: Given) -> tuple[str, ...]:
    if given.release is None:
        if not config["conditioned"]:
            return ALL_MODALITIES
        if config["cascades"] in CONDITIONED and config.items() >= PUBLISHED.items():
            return MODALITIES

    release = given.configuration("the modalities that its labels stand for (acq_types)")
    for key, ours in RELEASED.items():
        if key in release and release[key] != config[ours]:
            raise InputError(
                "checkpoint-mismatch",
                f"{given.source} has {ours} {config[ours]}, but its release {release[key]!r:.200}",
                "The configuration of the same network is needed",
                "Give the file that was published with these weights",
            )

    if config["conditioned"] and "acq_types" not in release:
        raise InputError(
            "release-missing",
            f"The configuration for {given.source} has no acq_types",
            "They are the modalities that the network was trained with, in the order of its labels",
            "Give the file that was published with these weights",
        )
    found = release.get("acq_types", ALL_MODALITIES)
    if not (isinstance(found, list | tuple) and found and all(isinstance(n, str) for n in found)):
        raise InputError(
            "checkpoint-mismatch",
            f"The configuration for {given.source} has acq_types {found!r:.200}",
            "A list of the names of modalities is needed",
            "Give the file that was published with these weights",
        )
    return tuple(found)
