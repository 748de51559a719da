"""Small networks of every kind, and their checkpoints."""

import argparse
import collections
import pathlib
import sys
import types

import torch

UNET = {
    "features": 4,
    "dims": [8, 12, 16],
    "prompt_dims": [4, 4, 8],
    "prompt_lengths": [3, 3, 3],
    "prompt_sizes": [8, 4, 2],
}
SIZES = {"cascades": 2, "frames": 3, "unet": UNET, "sensitivity_unet": UNET}
VSHARP = {
    "gradient_steps": 2,
    "filters": 4,
    "pools": 2,
    "initialiser_channels": [4, 4],
    "initialiser_dilations": [1, 2],
    "sensitivity_filters": 4,
    "sensitivity_pools": 2,
}
SMALL = {
    "promptmr": SIZES,
    "promptmr-plus": {**SIZES, "history": 1},
    "genre-cmr": {**SIZES, "gate": "one"},
    "sr-gan": SIZES,
    "hypercmr": SIZES,
    "e2e-varnet": {"cascades": 2},
    "vsharp": {"cascades": 2, "sizes": VSHARP},
    "vsharp-3d": {"cascades": 2, "sizes": VSHARP},
    "unet": {"channels": 4},
    "fidelity-unet": {"channels": 4},
    "lf-mri": {"stages": 2, "sensitivity_unet": UNET},
    "sdum": {
        "cascades": 2,
        "channels": [8, 16],
        "blocks": [1, 1],
        "refinement": 1,
        "map_features": [4, 4, 4, 4, 4],
        "map_size": [40, 40],
    },
    "kt-unrolled": {"cascades": 2, "channels": 8, "blocks": 1},
    "patch-gan": {"channels": 4},
}


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(value, b[key]) for key, value in a.items())


def shapes_of(state_dict):
    return {key: tuple(value.shape) for key, value in state_dict.items()}


def lightning_file(path, network, parameters, monkeypatch, **more):
    """A checkpoint as PyTorch Lightning writes it.

    Its pickle names classes that do not exist when it is read.
    """
    module = types.ModuleType("lightning_fake")
    module.AttributeDict = type("AttributeDict", (dict,), {"__module__": module.__name__})
    module.Ordered = type("Ordered", (collections.OrderedDict,), {"__module__": module.__name__})
    state = module.Ordered(
        {f"promptmr.{key}": value for key, value in network.state_dict().items()}
    )
    state["loss.w"] = torch.ones(1, 1, 7, 7) / 49
    optimiser = torch.optim.AdamW(network.parameters())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        torch.save(
            {
                "epoch": 11,
                "global_step": 258576,
                "pytorch-lightning_version": "2.1.0",
                "state_dict": state,
                "optimizer_states": [optimiser.state_dict()],
                "hyper_parameters": module.AttributeDict(
                    **parameters,
                    data_path=pathlib.PurePosixPath("/data"),
                    arguments=argparse.Namespace(lr=2e-4),
                    dtype=torch.float32,
                ),
                **more,
            },
            path,
        )
    return path
