"""Golden values of SDUM: how they are stored, and the weights that are not."""

import gzip
import hashlib
import json

import numpy as np
import torch
from safetensors.torch import load_file

from cmrrecon.networks.labelled import Labels


def splitmix_uniform(name, count):
    """Uniform numbers in [-1, 1) seeded by a name."""
    seed = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        z = seed + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


def value_for(key, shape):
    """Return a golden weight, which is derived from its name."""
    u = splitmix_uniform(key, int(np.prod(shape))).reshape(shape)
    vector = len(shape) == 1
    if key.endswith("final_conv.bias"):
        value = 2.0 + 0.5 * u
    elif key.endswith("dc_weight_map"):
        value = 0.7 + 0.3 * u
    elif key.endswith("temperature"):
        value = 3.0 + 2.0 * u
    elif vector:
        value = 1.0 + 0.3 * u if key.endswith("weight") else 0.2 * u
    else:
        inputs = shape[0] if "deconv" in key else int(np.prod(shape[1:]))
        value = u * (3.0 / inputs) ** 0.5
        value = 0.2 * value if key.endswith("final_conv.weight") else value
        value = 0.3 * value if key.endswith("recon_model.output.weight") else value
    return torch.from_numpy(value.astype(np.float32))


def facts_of(folder):
    return json.loads((folder / "case.json").read_text())


def weights_of(folder):
    """Return the state dict of a case under its official names."""
    shapes = json.loads((folder / "shapes.json").read_text())
    return {key: value_for(key, shape) for key, shape in shapes.items()}


def arrays_of(folder):
    return load_file(folder / "data.safetensors")


def labels_of(entry):
    if isinstance(entry, dict):
        return Labels(entry["mask_type"], entry["acc_factor"], entry["acq_type"])
    return Labels(*entry)


def complex_of(stored):
    return torch.view_as_complex(stored.contiguous())


def published_shapes(folder, size):
    """Return names and shapes of all tensors of a published network."""
    with gzip.open(folder / f"keys_{size}.full.json.gz") as file:
        return json.load(file)
