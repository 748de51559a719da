"""A small store to train on."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cmrrecon import formats
from cmrrecon.simulation import simulate
from cmrrecon.training import plan, store
from cmrrecon.training.recipe import Recipe


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three subjects from two centres, in two sizes, with three frames and one slice."""
    folder = tmp_path_factory.mktemp("data")
    for number, (centre, y) in enumerate([("Center001", 36), ("Center002", 36), ("Center002", 40)]):
        made = simulate("cine", frames=3, slices=1, coils=3, y=y, x=48, seed=number)
        path = (
            folder
            / "raw"
            / "Cine"
            / "TrainingSet"
            / "FullSample"
            / centre
            / "Sim_30T_one"
            / f"P00{number + 1}"
            / "cine_sax.mat"
        )
        path.parent.mkdir(parents=True)
        formats.write_scan(path, made.scan, {})
        store.add_scan(path, folder / "store" / centre / f"P00{number + 1}" / "cine_sax.h5")
    store.write_fingerprint(folder / "store")
    return folder / "store"


@pytest.fixture(scope="session", autouse=True)
def estimates() -> Iterator[None]:
    """Runs of the same network share the estimate of its memory, which is slower than a step."""
    known: dict[str, int] = {}
    estimate = plan.window_bytes

    def shared(recipe: Recipe, shape: Sequence[int], *, checkpointing: bool) -> int:
        key = json.dumps([recipe.network, recipe.sampling.acs, shape, checkpointing])
        if key not in known:
            known[key] = estimate(recipe, shape, checkpointing=checkpointing)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "window_bytes", shared)
        yield
