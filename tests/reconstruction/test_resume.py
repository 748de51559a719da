import json
import os
from dataclasses import replace

import pytest
import torch
from cmrrecon.reconstruction.run import reconstruct_slices

from cmrrecon.data import Scan
from cmrrecon.methods.registry import find_method
from cmrrecon.reconstruction.resume import Parts
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.tools.devices import choose_device
from cmrrecon.tools.errors import UsageError


def test_parts_are_a_sequence_of_the_slices_in_order(tmp_path):
    parts = Parts(tmp_path / "out.h5", "a" * 64, [4, 1])
    assert parts.missing() == [4, 1]
    images = {z: torch.full((2, 3, 4), float(z)) for z in (4, 1)}
    parts.save(1, images[1])
    assert parts.missing() == [4]
    parts.save(4, images[4])
    assert [part.flatten()[0].item() for part in parts] == [4, 1]
    assert torch.equal(parts[1], images[1])
    assert [p.shape for p in parts[:]] == [(2, 3, 4)] * 2
    parts.remove()
    assert os.listdir(tmp_path) == []


def test_another_recipe_starts_afresh(tmp_path):
    Parts(tmp_path / "out.h5", "a" * 64, [0]).save(0, torch.zeros(1, 2, 2))
    assert Parts(tmp_path / "out.h5", "b" * 64, [0]).missing() == [0]


def test_only_missing_slices_are_read(tmp_path):
    kspace = torch.randn((1, 3, 2, 32, 24), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    read = []

    def read_slice(index):
        read.append(index)
        return kspace[:, index]

    scan = Scan((1, 3, 2, 32, 24), read_slice)
    parts = Parts(tmp_path / "out.h5", "a" * 64, [0, 1, 2])
    parts.save(1, torch.zeros(1, 32, 24))
    done = []
    reconstruct_slices(scan, find_method("zero-filled"), {}, parts, torch.device("cpu"), lambda: done.append(None), lambda index, choice: None)
    assert read == [0, 2]
    assert len(done) == 2
    assert not parts[1].any()
    assert parts[2].any()


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:99", "cpu:1", ""])
def test_unknown_devices_are_refused(name):
    with pytest.raises(UsageError, match="--device auto"):
        choose_device(name)


def test_asking_for_the_cpu_does_not_look_for_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("CUDA was touched"))
    assert choose_device("cpu").type == "cpu"


def test_the_choice_is_kept_for_the_run_that_goes_on(tmp_path):
    made = simulate("cine", frames=3, slices=2, coils=3, y=48, x=48, seed=1).scan
    mask = make_mask("kt-gaussian", frames=3, y=48, x=48, acceleration=4, acs=12, seed=1)
    scan = replace(made, read_slice=lambda index: made.read_slice(index) * mask[:, None], mask=mask)
    choices = []

    def run(stop_after):
        def on_slice():
            nonlocal stop_after
            stop_after -= 1
            if not stop_after:
                raise KeyboardInterrupt

        parts = Parts(tmp_path / "out.h5", "b" * 64, [0, 1])
        reconstruct_slices(
            scan, find_method("llr"), {}, parts, torch.device("cpu"), on_slice, lambda index, choice: choices.append((index, choice))
        )
        return parts

    with pytest.raises(KeyboardInterrupt):
        run(1)
    note = next(tmp_path.glob(".out*/note.json"))
    kept = json.loads(note.read_text())
    note.write_text(json.dumps({**kept, "weight": 0.5}))
    run(9)
    assert choices[0][0] == choices[1][0] == 1
    assert choices[0][1].weight == kept["weight"]
    assert choices[1][1] == replace(choices[0][1], weight=0.5)
