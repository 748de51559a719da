"""The weights in the state of a training run."""

import json
from pathlib import Path
from typing import Any

from cmrrecon.networks.base import build_network
from cmrrecon.networks.checkpoints.weights import Loaded
from cmrrecon.tools.errors import CmrreconError, InputError
from cmrrecon.tools.provenance import plain
from cmrrecon.training import checkpoint
from cmrrecon.training.identity import RUN


def is_state(path: Path) -> bool:
    """Whether a file lies in the folder of a run and can be one of its states."""
    return path.suffix == ".pt" and path.with_name(RUN).is_file()


def weights_of_run(path: Path) -> Loaded:
    """The network in `last.pt` or `epoch.pt`, as `best.safetensors` would hold it.

    Parameters
    ----------
    path : Path
        A state in the folder of its run, whose `run.json` names the network.

    Raises
    ------
    InputError
        If the file is no state of training (`checkpoint-format`, `checkpoint-damaged`), or not one
        of the run in its folder (`checkpoint-mismatch`).
    """
    state = checkpoint.load(path)
    try:
        recipe: dict[str, Any] = json.loads(path.with_name(RUN).read_text())["recipe"]
        config = dict(recipe["network"])
        network = build_network(config.pop("name"), config)
        parts = state["parts"]
        network.load_state_dict(parts.get("average") or parts["network"])
    except (ValueError, LookupError, TypeError, RuntimeError, CmrreconError) as error:
        raise InputError(
            "checkpoint-mismatch",
            f"{path} does not belong to the run that {RUN} beside it describes",
            "A state of training is read with the recipe of its run",
            "Give the file in the folder where the run wrote it",
        ) from error

    facts = {"recipe": recipe, "steps": state["step"], "epochs": state["epoch"]}
    return Loaded(
        network.eval(),
        {
            **{key: json.dumps(plain(value)) for key, value in facts.items()},
            "network": recipe["network"]["name"],
            "config": json.dumps(plain(vars(network)["config"])),
        },
    )
