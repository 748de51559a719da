"""What the releases of vSHARP say beside their weights: the YAML files of direct, and presets."""

from collections.abc import Mapping
from typing import Any

from cmrrecon.networks.checkpoints.facts import Given
from cmrrecon.networks.checkpoints.foreign import text_of
from cmrrecon.tools.errors import InputError

# The parts of direct's files that describe data, in the order in which they are asked.
STAGES = ("inference", "validation", "training")
# What direct does if its file says nothing.
DEFAULTS = {"padding_eps": 0.001, "sensitivity_maps_gaussian": 0.7}
MAPS = ("rss_estimate", "unit")
MODEL = {"initializer_dilations": [1, 1, 2, 4], "image_init": "SENSE"}
# All these releases come with a network for the coil maps, of any size.
MAPS_NETWORK: Mapping[str, Any] = {"sensitivity_model": {}}
# Presets have the same model section as the files, but state our rule instead of transforms.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "uniform": {"model": MODEL, "rule": {}, "additional_models": MAPS_NETWORK},
    "challenge23": {
        "model": MODEL,
        "rule": {"percentile": 0.99, "padding_unmeasured": False, "calibration": "lines"},
        "additional_models": MAPS_NETWORK,
    },
    "deepinv": {
        "model": MODEL,
        "rule": {
            "percentile": 0.99, "padding": 0.0, "calibration": "measured", "unit_map": True,
        },
        "additional_models": MAPS_NETWORK,
    },
}  # fmt: skip
STARTS = {"SENSE": "sense", "ZERO_FILLED": "zero-filled"}
ACTIVATIONS = {"PRELU": "prelu", "RELU": "relu", "LEAKY_RELU": "leaky-relu"}
MISSING = "the dilations, the scale, and the calibration lines of the network"


def model_of(release: Mapping[str, Any], given: Given) -> Mapping[str, Any]:
    """Return the model section of a release; an empty one if a preset has none.

    Raises
    ------
    InputError
        If the release belongs to another network (`checkpoint-mismatch`).
    """
    name = _section(release, "model").get("model_name", "vsharp.")
    if not (isinstance(name, str) and name.startswith("vsharp.")):
        raise _other(given, f"describes the network {text_of(name)}", "vsharp.vsharp.VSharpNet")

    for key, plain in (("forward_operator", "fft2"), ("backward_operator", "ifft2")):
        operator = _section(release, "physics").get(key, plain)
        if operator != plain:
            raise _other(given, f"has the {key} {text_of(operator)}", f"{plain}, which is centred")
    return _section(release, "model")


def further_networks(release: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the sections of the networks that the release has besides its model."""
    return _section(release, "additional_models")


def rule_of(release: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """Return the configuration of the input rule.

    Masks that the official program draws have a fraction of central lines, and samples without
    signal are unmeasured. Files without such masks are those of the challenge: masks come with the
    data, which have 24 central lines.

    Raises
    ------
    InputError
        If the release does not say how k-space is prepared (`release-missing`), or it is prepared
        in a way that is not implemented (`checkpoint-mismatch`).
    """
    if isinstance(release.get("rule"), Mapping):
        return dict(release["rule"])

    transforms = _transforms(release)
    normal = _merged(transforms, "normalization")
    estimate = _merged(transforms, "sensitivity_map_estimation")
    percentile = normal.get("scale_percentile")
    if not isinstance(percentile, float | int) or isinstance(percentile, bool):
        raise InputError(
            "release-missing",
            f"The release of {given.source} states no scale_percentile",
            "It is needed for the scale of k-space, and transforms for the calibration lines",
            "Run `cmrrecon models convert` with --preset uniform, challenge23 or deepinv",
        )

    maps = estimate.get("sensitivity_maps_type", MAPS[0])
    if not (isinstance(maps, str) and maps.lower() == MAPS[0]):
        raise _other(given, f"estimates first maps by {text_of(maps)}", MAPS[0])
    return {
        "percentile": percentile,
        "padding": transforms.get("padding_eps", DEFAULTS["padding_eps"]),
        "gaussian": estimate.get("sensitivity_maps_gaussian", DEFAULTS["sensitivity_maps_gaussian"])
        or 0.0,
        **_calibration(transforms, given),
    }


def _calibration(transforms: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """Return how the calibration lines are chosen."""
    masking = transforms.get("masking")
    if not isinstance(masking, Mapping) or not masking.get("name", True):
        return {"calibration": "lines", "lines": 24, "padding_unmeasured": False}
    fractions = masking.get("center_fractions")
    if not isinstance(fractions, list) or not fractions:
        raise _other(given, "has masks without center_fractions", "masks with central lines")
    return {"calibration": "fraction", "fraction": fractions[0], "padding_unmeasured": True}


def _transforms(release: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the transforms of the first part that has any."""
    for stage in STAGES:
        section = _section(release, stage)
        listed = section.get("datasets")
        for holder in (section.get("dataset"), *(listed if isinstance(listed, list) else ())):
            for inner in (holder, _section(holder, "dataset")):
                if _section(inner, "transforms"):
                    return _section(inner, "transforms")
    return {}


def _merged(transforms: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """Return the settings of a section; older files have them outside of it."""
    return {**transforms, **_section(transforms, section)}


def _section(values: Any, key: str) -> Mapping[str, Any]:
    found = values.get(key) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _other(given: Given, found: str, expected: str) -> InputError:
    return InputError(
        "checkpoint-mismatch",
        f"The release of {given.source} {found}",
        f"Only {expected} is supported",
        "Use the file that was published with the weights, or a preset",
    )
