"""Golden values of vSHARP: cases with their networks, in our axes."""

import gzip
import json
from dataclasses import dataclass

import numpy as np
import torch

from cmrrecon.networks.checkpoints import weights

RULES = {"uniform": {}, "challenge": {"percentile": 0.99, "padding_unmeasured": False}}


def facts(golden):
    with gzip.open(golden / "vsharp" / "facts.json.gz") as file:
        return json.load(file)


def full_size(golden):
    with gzip.open(golden / "vsharp" / "full_size_keys.json.gz") as file:
        return json.load(file)


def complex_of(array):
    return torch.view_as_complex(torch.from_numpy(array).contiguous())


def ours(array, dims):
    """Return (batch, coil, [frame,] x, y, 2) as complex (batch, frame, coil, y, x)."""
    x = complex_of(array)
    return (x.transpose(1, 2) if dims == 3 else x[:, None]).mT


def images_of(array, dims):
    """Return (batch, [frame,] x, y, 2) as complex (batch, frame, y, x)."""
    x = complex_of(array)
    return (x if dims == 3 else x[:, None]).mT


def mask_of(array, dims):
    """Return (batch, 1, [frame,] x, y, 1) as (batch, frame|1, y, x|1); lines where it has lines."""
    mask = torch.from_numpy(array)[..., 0]
    return with_lines((mask[:, 0] if dims == 3 else mask).mT)


def with_lines(mask):
    return mask[..., :1] if bool((mask == mask[..., :1]).all()) else mask


@dataclass
class Case:
    """A golden file: the network with its weights, and the arrays."""

    network: torch.nn.Module
    arrays: dict
    dims: int


def state_of(golden, name, entry):
    """Return the state dict of a case, as a checkpoint of direct is read."""
    if entry["weights"] == "weights_2d.npz":
        release = torch.load(golden / "vsharp/tiny_release/uniform_vsharp.pt", weights_only=True)
        parts = {part: release[part] for part in ("model", "sensitivity_model")}
    else:
        stored = np.load(golden / "vsharp" / entry["weights"])
        parts = {"model": {}, "sensitivity_model": {}}
        for key in stored.files:
            if key.startswith("state/"):
                _, part, tensor = key.split("/")
                parts[part][tensor] = torch.from_numpy(stored[key])

    maps = parts["sensitivity_model"] if entry["config"]["sensitivity_model"] else {}
    return parts["model"] | {f"sensitivity_model.{key}": value for key, value in maps.items()}


def case(golden, name, rule=None):
    entry = facts(golden)[name]
    model = entry["config"]["model"]
    network = weights.from_state_dict(
        state_of(golden, name, entry), release={"model": model, "rule": rule or {}}
    )
    arrays = dict(np.load(golden / "vsharp" / f"{name}.npz"))
    return Case(network, arrays, 3 if model["model_name"].endswith("3D") else 2)


def build_small(sizes):
    """Build a 2-D network with random weights."""
    from cmrrecon.networks.catalog import build

    torch.manual_seed(0)
    layers = {"initialiser_channels": [2, 2], "initialiser_dilations": [1, 2]}
    return build("vsharp", {"cascades": 1, "sizes": {"gradient_steps": 1, **layers, **sizes}})
