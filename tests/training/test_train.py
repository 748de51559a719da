"""`cmrrecon train` and its parts: recipes, windows, steps, several processes.

Stopping and continuing are tested in test_resume.py.
"""

import functools
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from refusals import refused
from typer.testing import CliRunner

from cmrrecon import formats
from cmrrecon.cli.app import app
from cmrrecon.data import Scan
from cmrrecon.formats.names import fits
from cmrrecon.networks.checkpoints import weights
from cmrrecon.sampling import make_mask
from cmrrecon.tools.errors import UsageError
from cmrrecon.training import checkpoint, recipe
from cmrrecon.training.dataset import Windows, batches
from cmrrecon.training.distributed import first_host, group_of_processes, tasks_of_node
from cmrrecon.training.entries import domain_of, read_entries, split
from cmrrecon.training.recipe import Data, Period, Sampling
from cmrrecon.training.store import add_scan, write_fingerprint

UNET = "{features=4, dims=[4,4,4], prompt_dims=[2,2,2], prompt_lengths=[2,2,2], prompt_sizes=[4,4,4], encoder_blocks=[1,1,1], decoder_blocks=[1,1,1], skip_blocks=[1,1,1], bottleneck_blocks=1}"  # noqa: E501
PROMPTED = ["network.cascades=2", f"network.unet={UNET}", f"network.sensitivity_unet={UNET}"]
DISCRIMINATOR = "discriminator.channels=4"
VSHARP = [
    "network.cascades=2",
    "network.sizes={gradient_steps=2, filters=4, pools=2, initialiser_channels=[4,4], initialiser_dilations=[1,2], sensitivity_filters=4, sensitivity_pools=2}",  # noqa: E501
]
SMALL = {
    "promptmr": PROMPTED,
    "promptmr-plus": [*PROMPTED, "network.history=1"],
    "genre-cmr": [*PROMPTED, DISCRIMINATOR],
    "genre-cmr-paper": [*PROMPTED, DISCRIMINATOR, "optimiser.lr=1e-4"],
    "sr-gan": [*PROMPTED, DISCRIMINATOR],
    "hypercmr": PROMPTED,
    "hypercmr-code": PROMPTED,
    "e2e-varnet": [
        "network.cascades=2",
        "network.channels=4",
        "network.pools=2",
        "network.sensitivity_channels=4",
        "network.sensitivity_pools=2",
    ],
    "vsharp": VSHARP,
    "vsharp-3d": VSHARP,
    "fidelity-unet": ["network.channels=4", "network.pools=2", "network.fidelity_channels=4"],
    "lf-mri": [
        "network.stages=2",
        "network.channels=[4,8]",
        "network.classifier_channels=[4,8]",
        f"network.sensitivity_unet={UNET}",
    ],
    "sdum": [
        "network.cascades=2",
        "network.channels=[8,16]",
        "network.blocks=[1,1]",
        "network.refinement=1",
        "network.map_features=[4,4,4,4,4]",
        "network.map_size=[40,48]",
    ],
    "kt-unrolled": [
        "network.cascades=1",
        "network.channels=8",
        "network.blocks=1",
        "data.scenes=0",
    ],
    "quick": ["network.cascades=1", "network.channels=8", "data.scenes=0"],
}
# Marks of tests that share runs, so that not every worker makes its own.
SHARED, TOGETHER = pytest.mark.xdist_group("trained"), pytest.mark.xdist_group("together")
SHORT = ["sampling.acs=12", "schedule.epochs=1", "schedule.batch=1"]


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in ("train", *words)])


def small(name, *more):
    return [word for text in (*SMALL[name], *SHORT, *more) for word in ("--set", text)]


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a run of three steps of a recipe."""

    @functools.cache
    def folder_of(name):
        folder = tmp_path_factory.mktemp("trained") / name
        done = command(
            "--recipe",
            name,
            "--data",
            data,
            "--out",
            folder,
            "--max-steps",
            3,
            *small(name),
            "--json",
        )
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["steps"] >= 1
        return folder

    return folder_of


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@SHARED
@pytest.mark.parametrize("name", SMALL)
def test_every_recipe_trains_from_the_command_line(trained, name):
    losses = [line["loss"] for line in log_of(trained(name)) if "loss" in line]
    assert losses
    assert all(map(math.isfinite, losses))


def test_all_recipes_of_the_package_are_tested():
    assert set(recipe.names()) == set(SMALL)


def test_training_learns_and_leaves_weights_that_reconstruct(data, tmp_path):
    words = [
        "--data",
        data,
        "--out",
        tmp_path / "run",
        *small("promptmr", "schedule.epochs=2", "optimiser.lr=5e-3", "optimiser.clip=1.0"),
    ]
    done = command("--recipe", "promptmr", *words, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["status"], record["epochs"]) == ("done", 2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert [line["epoch"] for line in lines if "validation" in line] == [1, 2]
    assert all(line["protocol"] == "fullfov" for line in lines if "validation" in line)
    loaded = weights.load(tmp_path / "run" / "best.safetensors")
    assert loaded.metadata["network"] == "promptmr"
    scan = next(data.rglob("*.h5"))
    made = CliRunner().invoke(
        app,
        [
            "reconstruct",
            str(scan),
            "--checkpoint",
            str(tmp_path / "run" / "best.safetensors"),
            "-o",
            str(tmp_path / "out.h5"),
        ],
    )
    assert made.exit_code == 0, made.output


@SHARED
@pytest.mark.parametrize(
    "name", ["genre-cmr", "promptmr-plus", "lf-mri", "e2e-varnet", "fidelity-unet"]
)
def test_half_precision_of_convolutions_trains_weights_of_full_precision(
    data, tmp_path, trained, name
):
    words = [
        "--recipe",
        name,
        "--data",
        data,
        "--max-steps",
        3,
        *small(name, "schedule.precision=bf16"),
    ]
    done = command(*words, "--out", tmp_path / "bf16")
    assert done.exit_code == 0, done.output
    # On a CPU the precision of a recipe is full.
    folders = (trained(name), tmp_path / "bf16")
    full, half = (checkpoint.load(folder / "last.pt")["parts"]["network"] for folder in folders)
    assert all(value.dtype == full[key].dtype for key, value in half.items())
    assert any(not torch.equal(value, full[key]) for key, value in half.items())
    first = [log_of(folder)[0]["loss"] for folder in folders]
    assert first[0] == pytest.approx(first[1], rel=0.1)
    assert first[0] != first[1]


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """Folder and output of runs of two processes: `two`, and `run` with a stop after two steps."""
    folder = tmp_path_factory.mktemp("together")
    varnet = ["--recipe", "e2e-varnet", *small("e2e-varnet"), "--out", folder / "two"]
    genre = [
        "--recipe",
        "genre-cmr",
        *small("genre-cmr", "schedule.epochs=2"),
        "--out",
        folder / "run",
    ]
    commands = [
        ["train", "--data", data, "--device", "cpu", *words]
        for words in (varnet, [*genre, "--max-steps", 2], genre)
    ]
    words = json.dumps([[str(word) for word in command] for command in commands])
    program = [sys.executable, str(Path(__file__).with_name("together.py")), words]
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    outputs = [json.loads(line) for line in done.stdout.splitlines()]
    assert [output["codes"] for output in outputs] == [[0, 0]] * 3, outputs
    return folder, outputs


@TOGETHER
def test_two_processes_step_as_one_that_accumulates(together, data, tmp_path):
    folder, outputs = together
    assert len(outputs[0]["out"].splitlines()) == 1
    words = [
        "--recipe",
        "e2e-varnet",
        "--data",
        data,
        "--device",
        "cpu",
        *small("e2e-varnet", "optimiser.accumulate=2"),
    ]
    assert command(*words, "--out", tmp_path / "one").exit_code == 0
    two, one = (checkpoint.load(path / "last.pt") for path in (folder / "two", tmp_path / "one"))
    assert two["step"] == one["step"] > 1
    for key, value in two["parts"]["network"].items():
        torch.testing.assert_close(value, one["parts"]["network"][key], rtol=1e-3, atol=1e-5)
    assert sum("validation" in line for line in log_of(folder / "two")) == 1


@TOGETHER
def test_processes_agree_on_banks_and_statistics_and_continue(together, data):
    folder, outputs = together
    assert "continuing after step 2" in outputs[2]["err"]
    state = checkpoint.load(folder / "run" / "last.pt")
    banks = state["parts"]["objective"]["alignment"]["banks"]
    assert len(banks) == 2
    assert len({entry[0] for entry in banks[0]}) == 2
    assert state["epoch"] == 2
    assert [line["step"] for line in log_of(folder / "run") if "loss" in line] == list(
        range(1, state["step"] + 1)
    )
    words = [
        "--recipe",
        "genre-cmr",
        "--data",
        data,
        "--device",
        "cpu",
        *small("genre-cmr", "schedule.epochs=2"),
    ]
    alone = command(*words, "--out", folder / "run")
    assert alone.exit_code == 2
    assert "[processes-mismatch]" in alone.stderr


def test_statistics_are_equal_in_all_processes():
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(31000 + os.getpid() % 1000),
    ]
    script = Path(__file__).with_name("agreeing.py")
    done = subprocess.run(
        [*words, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[03-05,9],cpu1", "gpu03"),
        ("node7", "node7"),
        ("a1,a2", "a1"),
        ("n[1,4-6]", "n1"),
        ("", ""),
    ],
)
def test_the_first_node_of_slurms_list(nodes, first):
    assert first_host(nodes) == first


@pytest.mark.parametrize(
    ("counts", "tasks"), [("4", [4]), ("4(x2),1", [4, 4, 1]), ("2,8(x2)", [2, 8, 8])]
)
def test_the_tasks_of_every_node_of_slurms_list(counts, tasks):
    assert [tasks_of_node(counts, node) for node in range(len(tasks))] == tasks


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SRUN = {
    f"SLURM_{name}": value
    for name, value in zip(
        ("STEP_ID", "PROCID", "NTASKS", "LOCALID", "NODEID"), "01200", strict=True
    )
}


@pytest.mark.parametrize("place", [TORCHRUN, {**SRUN, "SLURM_STEP_TASKS_PER_NODE": "2"}])
@pytest.mark.parametrize(("gpus", "fitting"), [(1, 2), (4, 4)])
def test_processes_and_gpus_that_do_not_match_are_refused(monkeypatch, place, gpus, fitting):
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with refused("gpus-mismatch") as error, group_of_processes("auto"):
        pass
    assert f"--ntasks-per-node={fitting} --gpus-per-node={fitting}" in error.value.remedy


@pytest.mark.parametrize(("device", "given"), [("cuda:3", "cuda:3"), ("cpu", "cpu")])
def test_a_single_process_of_srun_has_the_given_device(monkeypatch, device, given):
    for name, value in {
        **SRUN,
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_STEP_TASKS_PER_NODE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with group_of_processes(device) as (group, own):
        assert (group.size, own) == (1, given)


def test_a_run_refuses_another_recipe(data, tmp_path):
    words = ["--recipe", "promptmr", "--data", data, "--out", tmp_path / "run", "--max-steps", 1]
    assert command(*words, *small("promptmr")).exit_code == 0
    other = command(*words, *small("promptmr", "optimiser.lr=1e-5"))
    assert other.exit_code == 2
    assert "[recipe-mismatch]" in other.stderr
    assert command(*words, *small("promptmr", "schedule.epochs=5")).exit_code == 0


@pytest.mark.parametrize(
    ("words", "field", "named"),
    [
        (["--recipe", "promptnr"], "remedy", "promptmr"),
        (["--recipe", "promptmr", "--set", "losses.sim.weight=1"], "remedy", "ssim"),
        (["--recipe", "promptmr", "--set", "optimiser.lr=fast"], "found", "fast"),
        (["--recipe", "promptmr", "--set", "network.cascade=3"], "remedy", "cascades"),
        (["--recipe", "promptmr", "--set", "lr"], "code", "option-value"),
        (["--recipe", "promptmr", "--set", "data.columns=23"], "expected", "24"),
        (["--recipe", "promptmr", "--set", "losses.weighting=max"], "expected", "sum, variation"),
        (
            ["--recipe", "e2e-varnet", *small("e2e-varnet", "data.domain=['planet']")],
            "code",
            "unknown-fact",
        ),
        (["--recipe", "promptmr", "--only", "modality=none"], "remedy", "--only"),
        (["--recipe", "promptmr", "--only", "mood=good"], "found", "mood=good"),
        (["--recipe", "promptmr", "--hold-out", "vendor=none"], "found", "vendor=none"),
        (["--recipe", "promptmr", "--max-steps", 0], "found", "--max-steps"),
        ([], "remedy", "--recipe"),
    ],
)
def test_mistakes_are_reported(data, tmp_path, words, field, named):
    done = command(*words, "--data", data, "--out", tmp_path / "run", "--json")
    assert done.exit_code == 2, done.output
    assert named in json.loads(done.stdout)["error"][field]
    assert "Traceback" not in done.stderr


def test_the_recipe_is_printed_with_every_value():
    done = command("--recipe", "genre-cmr", "--print-config", "--set", "losses.ear.weight=0")
    printed = json.loads(done.stdout)
    assert printed["losses"]["ear"]["weight"] == 0
    assert printed["losses"]["sda"]["weight"] == 0.001
    assert printed["network"]["unet"]["features"] == 48
    assert printed["network"]["cascades"] == 16


def test_properties_from_the_scanner_name_select_scans():
    entry = {"centre": "Center005", "vendor": "Siemens_30T_Vida", "modality": "Cine"}
    chosen = (
        "scanner=Center005/Siemens_30T_Vida",
        "vendor=Siemens",
        "vendor=Siemens_30T_Vida",
        "field=3.0T",
        "manufacturer=Siemens",
    )
    for text in chosen:
        assert fits(entry, text, "--only")
    for text in ("scanner=Center001/Siemens_30T_Vida", "vendor=UIH", "field=1.5T"):
        assert not fits(entry, text, "--only")
    assert domain_of(entry, ("manufacturer", "field", "modality")) == "Siemens/3.0T/Cine"
    unknown = {"centre": "Center005", "vendor": None, "modality": "Cine"}
    assert domain_of(unknown, ("scanner", "field")) == "unknown/unknown"


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    done = command("--recipe", "promptmr", "--data", tmp_path, "--out", tmp_path / "run")
    assert done.exit_code == 3
    assert str(tmp_path) in done.stderr


def windows(folder, **more):
    settings = {
        "sampling": Sampling(accelerations=(4.0,), acs=12),
        "data": Data(),
        "seed": 1,
        **more,
    }
    return Windows(folder, read_entries(folder), 3, **settings)


def test_masks_stay_within_what_was_measured(tmp_path):
    kspace = torch.randn((3, 1, 2, 32, 24), dtype=torch.complex64)
    kspace[..., :8, :] = 0
    formats.write_scan(tmp_path / "cine_sax.mat", Scan.from_kspace(kspace), variable="kspace")
    add_scan(tmp_path / "cine_sax.mat", tmp_path / "store/cine_sax.h5", allow_partial=True)
    write_fingerprint(tmp_path / "store")
    flipped = [*range(25, 32), 0]
    for flip, empty in ((0.0, slice(0, 8)), (1.0, flipped)):
        lines = Sampling(patterns=("uniform",), accelerations=(2.0,), acs=4)
        data = Data(flip=flip, gamma=0.0, fov=0.0)
        seen = windows(tmp_path / "store", data=data, sampling=lines)
        sample = seen.sample(seen.places[0], 0)
        assert not sample.mask[:, empty].any()
        assert sample.mask[:, 9:25].any()
        assert sample.mask.shape[-1] == 1


def test_masks_change_between_epochs_and_not_with_the_order(data):
    seen = windows(data, sampling=Sampling(patterns=("kt-gaussian",), accelerations=(4.0,), acs=12))
    place = seen.places[4]
    first, again, later = (
        seen.sample(place, 0),
        windows(data, sampling=seen.sampling).sample(place, 0),
        seen.sample(place, 1),
    )
    assert torch.equal(first.kspace, again.kspace)
    assert not torch.equal(first.mask, later.mask)
    assert torch.equal(first.target, later.target)
    other = Windows(data, seen.entries, 3, seen.sampling, seen.data, 2).sample(place, 0)
    assert not torch.equal(first.mask, other.mask)
    held = windows(data, sampling=seen.sampling, fixed=True)
    assert torch.equal(held.sample(place, 0).mask, held.sample(place, 5).mask)


def test_a_sample_matches_its_scan(data):
    seen = windows(data, sampling=Sampling(patterns=("kt-uniform",), accelerations=(4.0,), acs=12))
    sample = seen.sample(seen.places[0], 0)
    entry = seen.entries[seen.places[0].scan]
    full = formats.read(data / entry["path"]).read_slice(0) / entry["scale"]
    frame = seen.places[0].frame
    rows = [(frame - 1) % 3, frame, (frame + 1) % 3]
    torch.testing.assert_close(sample.kspace, full[rows] * sample.mask[:, None])
    torch.testing.assert_close(sample.target_kspace, full[frame])
    assert sample.limit >= float(sample.target.max())
    assert sample.mask[:, 36 // 2 - 6 : 36 // 2 + 6].all()
    drawn = make_mask("kt-uniform", frames=3, y=36, x=48, acceleration=4, acs=12)
    assert any(torch.equal(sample.mask, drawn.roll(offset, 0)[rows]) for offset in range(3))
    offsets = {
        tuple(seen.sample(seen.places[0], epoch).mask.flatten().tolist()) for epoch in range(12)
    }
    assert len(offsets) == 3
    held = windows(data, sampling=seen.sampling, fixed=True)
    assert torch.equal(held.sample(held.places[0], 0).mask, drawn[rows])


def test_a_window_repeated_in_an_epoch_has_another_mask(data):
    seen = windows(
        data,
        sampling=Sampling(patterns=("kt-gaussian",), accelerations=(4.0,), acs=12),
        data=Data(balance={"cine_sax": 2}),
    )
    places = [place for batch in batches(seen, 0, lambda shape: 1) for place in batch]
    first, again = (
        next(p for p in places if (p.scan, p.frame, p.turn) == (0, 0, turn)) for turn in (0, 1)
    )
    assert not torch.equal(seen.sample(first, 0).mask, seen.sample(again, 0).mask)
    assert max(place.turn for batch in batches(seen, 0, lambda shape: 1, 40) for place in batch) > 2


def test_noise_is_added_to_the_input_and_not_to_the_target(data):
    plain, loud = (windows(data, data=Data(noise=noise)) for noise in (0.0, 0.5))
    assert torch.equal(
        plain.sample(plain.places[0], 0).target, loud.sample(loud.places[0], 0).target
    )
    assert not torch.equal(
        plain.sample(plain.places[0], 0).kspace, loud.sample(loud.places[0], 0).kspace
    )


def test_the_curriculum_goes_from_low_to_high_acceleration(data):
    sampling = Sampling(
        patterns=("uniform",),
        accelerations=(99.0,),
        acs=4,
        curriculum=(Period(epoch=0, accelerations=(2.0,)), Period(epoch=3, accelerations=(8.0,))),
    )
    seen = windows(data, sampling=sampling)
    share = [float(seen.sample(seen.places[0], epoch).mask.float().mean()) for epoch in (0, 2, 3)]
    assert share[0] == share[1] > 2 * share[2]
    held = windows(data, sampling=replace(sampling, accelerations=(8.0,)), fixed=True)
    assert float(held.sample(held.places[0], 0).mask.float().mean()) == share[2]


def test_batches_hold_windows_of_one_size_and_an_epoch_every_window(data):
    seen = windows(data)
    order = batches(seen, 0, lambda shape: 2)
    assert sorted((p.scan, p.frame) for batch in order for p in batch) == sorted(
        (p.scan, p.frame) for p in seen.places
    )
    assert all(len({seen.shape(place, 0) for place in batch}) == 1 for batch in order)
    assert order == batches(windows(data), 0, lambda shape: 2)
    assert order != batches(seen, 1, lambda shape: 2)


def test_domains_take_turns_and_rare_modalities_come_more_often(data):
    order = batches(windows(data, data=Data(domain=("centre",), in_turn=True)), 0, lambda shape: 1)
    domains = [windows(data, data=Data(domain=("centre",))).domain(batch[0]) for batch in order]
    assert domains[::2] == ["Center001"] * 6
    assert domains[1::2] == ["Center002"] * 6
    twice = batches(windows(data, data=Data(balance={"cine_sax": 2})), 0, lambda shape: 1)
    assert len(twice) == 18


def test_the_split_is_by_subject_and_stable():
    entries = [
        {"centre": "A", "vendor": None, "subject": f"P{n:03d}", "path": f"{n}{kind}"}
        for n in range(200)
        for kind in ("sax", "lax")
    ]
    train, held = split(entries, 0.15, 1)
    assert 0.08 < len(held) / len(entries) < 0.22
    assert not {entry["subject"] for entry in train} & {entry["subject"] for entry in held}
    assert list(split(entries[:100], 0.15, 1)[1]) == [e for e in held if e in entries[:100]]
    assert split(entries, 0.0, 1)[1] == []
    few = [
        {"centre": "C", "vendor": "V", "subject": f"P{n}", "path": f"{n}/{view}"}
        for n in range(2)
        for view in ("sax", "lax")
    ]
    for seed in range(20):
        train, held = split(few, 0.15, seed)
        assert {entry["subject"] for entry in train}.isdisjoint(entry["subject"] for entry in held)
        assert (len(train), len(held)) == (2, 2)
        assert split(few[::-1], 0.15, seed)[1] == held[::-1]
    assert split(few[:2], 0.15, 0) == (few[:2], [])


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"no state")
    with refused("checkpoint-damaged"):
        checkpoint.load(tmp_path / "last.pt")
    torch.save([1], tmp_path / "list.pt")
    with refused("checkpoint-format"):
        checkpoint.load(tmp_path / "list.pt")


def test_unknown_keys_name_the_nearest(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[network]\nname = "unet"\n[optimizer]\nlr = 1e-3\n')
    with pytest.raises(UsageError) as error:
        recipe.load(str(path))
    assert "optimiser" in error.value.remedy
    path.write_text("[network\n")
    with refused("file-damaged"):
        recipe.load(str(path))
