"""`cmrrecon train` and what it is made of: recipes, windows, steps, stopping and going on."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from typer.testing import CliRunner

from cmrrecon import formats
from cmrrecon.cli.app import app
from cmrrecon.errors import InputError, UsageError
from cmrrecon.networks import weights
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.training import checkpoint, loop, recipe, store
from cmrrecon.training.dataset import Windows, augment, batches, read_entries, split
from cmrrecon.training.distributed import first_host
from cmrrecon.training.recipe import Data, Period, Sampling

UNET = "{features=4, dims=[4,8,8], prompt_dims=[4,4,4], prompt_lengths=[2,2,2], prompt_sizes=[4,4,4], encoder_blocks=[1,1,1], decoder_blocks=[1,1,1], skip_blocks=[1,1,1], bottleneck_blocks=1}"  # noqa: E501
PROMPTED = ["network.cascades=2", f"network.unet={UNET}", f"network.sensitivity_unet={UNET}"]
SMALL = {
    "promptmr": PROMPTED,
    "promptmr-plus": [*PROMPTED, "network.history=1"],
    "genre-cmr": PROMPTED,
    "genre-cmr-paper": [*PROMPTED, "optimiser.lr=1e-4"],
    "sr-gan": PROMPTED,
    "hypercmr": PROMPTED,
    "hypercmr-code": PROMPTED,
    "e2e-varnet": [
        "network.cascades=2",
        "network.channels=4",
        "network.pools=2",
        "network.sensitivity_channels=4",
        "network.sensitivity_pools=2",
    ],
    "fidelity-unet": ["network.channels=4", "network.pools=2", "network.fidelity_channels=4"],
    "lf-mri": ["network.stages=2", "network.channels=[4,8]", "network.classifier_channels=[4,8]", f"network.sensitivity_unet={UNET}"],
}
SHORT = ["sampling.acs=12", "schedule.epochs=1", "schedule.batch=1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store of three subjects of two centres, of two sizes, 3 frames, one slice."""
    folder = tmp_path_factory.mktemp("data")
    for number, (centre, y) in enumerate([("Center001", 36), ("Center002", 36), ("Center002", 40)]):
        made = simulate("cine", frames=3, slices=1, coils=3, y=y, x=48, seed=number)
        path = folder / "raw" / "Cine" / "TrainingSet" / "FullSample" / centre / "Sim_30T_one" / f"P00{number + 1}" / "cine_sax.mat"
        path.parent.mkdir(parents=True)
        formats.write_scan(path, made.scan, {})
        store.add_scan(path, folder / "store" / centre / f"P00{number + 1}" / "cine_sax.h5")
    store.write_fingerprint(folder / "store")
    return folder / "store"


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in ("train", *words)])


def small(name, *more):
    return [word for text in (*SMALL[name], *SHORT, *more) for word in ("--set", text)]


@pytest.mark.parametrize("name", SMALL)
def test_every_recipe_trains_from_the_command_line(data, tmp_path, name):
    done = command("--recipe", name, "--data", data, "--out", tmp_path / "run", "--max-steps", 3, *small(name), "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["steps"] >= 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(torch.isfinite(torch.tensor(line["loss"])) for line in lines if "loss" in line)


def test_all_recipes_of_the_package_are_tested():
    assert set(recipe.names()) == set(SMALL)


def test_training_learns_and_leaves_weights_that_reconstruct(data, tmp_path):
    words = ["--data", data, "--out", tmp_path / "run", *small("promptmr", "schedule.epochs=4", "optimiser.lr=2e-3", "optimiser.clip=1.0")]
    done = command("--recipe", "promptmr", *words, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["status"], record["epochs"]) == ("done", 4)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert [line["epoch"] for line in lines if "validation" in line] == [1, 2, 3, 4]
    assert all(line["protocol"] == "fullfov" for line in lines if "validation" in line)
    loaded = weights.load(tmp_path / "run" / "best.safetensors")
    assert loaded.metadata["network"] == "promptmr"
    scan = next(data.rglob("*.h5"))
    made = CliRunner().invoke(
        app, ["reconstruct", str(scan), "--checkpoint", str(tmp_path / "run" / "best.safetensors"), "-o", str(tmp_path / "out.h5")]
    )
    assert made.exit_code == 0, made.output


@pytest.mark.parametrize("name", ["genre-cmr", "e2e-varnet"])
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_bits(data, tmp_path, name):
    more = ["schedule.epochs=2", "schedule.average=0.9", "optimiser.accumulate=2"] if name == "e2e-varnet" else ["schedule.epochs=2"]
    words = ["--recipe", name, "--data", data, *small(name, *more)]
    assert command(*words, "--out", tmp_path / "straight").exit_code == 0
    expected = checkpoint.load(tmp_path / "straight" / "last.pt")
    for steps in range(1, expected["step"] + 1):
        done = command(*words, "--out", tmp_path / "stopped", "--max-steps", steps)
        assert done.exit_code == 0, done.output
    found = checkpoint.load(tmp_path / "stopped" / "last.pt")
    command(*words, "--out", tmp_path / "stopped")
    found = checkpoint.load(tmp_path / "stopped" / "last.pt")
    assert found["step"] == expected["step"]
    same(found["parts"], expected["parts"])

    def losses(folder):
        lines = map(json.loads, (tmp_path / folder / "log.jsonl").read_text().splitlines())
        return [line["loss"] for line in lines if "loss" in line]

    assert losses("stopped") == losses("straight")


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("name", ["genre-cmr", "promptmr-plus", "lf-mri", "e2e-varnet", "fidelity-unet"])
def test_half_precision_of_convolutions_trains_weights_of_full_precision(data, tmp_path, name):
    words = ["--recipe", name, "--data", data, "--max-steps", 2]
    for precision in ("fp32", "bf16"):
        done = command(*words, *small(name, f"schedule.precision={precision}"), "--out", tmp_path / precision)
        assert done.exit_code == 0, done.output
    full, half = (checkpoint.load(tmp_path / precision / "last.pt")["parts"]["network"] for precision in ("fp32", "bf16"))
    assert all(value.dtype == full[key].dtype for key, value in half.items())
    assert any(not torch.equal(value, full[key]) for key, value in half.items())
    first = [json.loads((tmp_path / precision / "log.jsonl").read_text().splitlines()[0])["loss"] for precision in ("fp32", "bf16")]
    assert first[0] == pytest.approx(first[1], rel=0.1)
    assert first[0] != first[1]


def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_bits(data, tmp_path):
    words = ["--recipe", "sr-gan", "--data", data, "--device", "cpu", *small("sr-gan", "schedule.epochs=2", "schedule.save_every=0")]
    assert command(*words, "--out", tmp_path / "straight").exit_code == 0
    expected = checkpoint.load(tmp_path / "straight" / "last.pt")
    program = [sys.executable, "-m", "cmrrecon", "train", *map(str, words), "--out", str(tmp_path / "killed")]
    draw, killed = random.Random(0), 0
    for _ in range(5):
        running = subprocess.Popen(
            program, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        log, before = tmp_path / "killed" / "log.jsonl", steps_logged(tmp_path / "killed" / "log.jsonl")
        # Wait for a step or two of this process, and then a moment, so that it dies in the middle of something.
        while running.poll() is None and steps_logged(log) < before + 2:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.1))
        running.kill()
        killed += running.wait() == -signal.SIGKILL
    assert killed >= 3
    assert command(*words, "--out", tmp_path / "killed").exit_code == 0
    found = checkpoint.load(tmp_path / "killed" / "last.pt")
    same(found, expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_asked_to_stop_saves_its_state(data, tmp_path, number):
    words = ["--recipe", "sr-gan", "--data", data, "--device", "cpu", *small("sr-gan", "schedule.epochs=500"), "--out", tmp_path / "run"]
    program = [sys.executable, "-m", "cmrrecon", "train", *map(str, words), "--json"]
    running = subprocess.Popen(program, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while running.poll() is None and steps_logged(tmp_path / "run" / "log.jsonl") < 1:
        time.sleep(0.05)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert json.loads(out)["status"] == "stopped"
    assert "the same command goes on from there" in err
    assert checkpoint.load(tmp_path / "run" / "last.pt")["step"] == json.loads(out)["steps"] > 0


def test_what_a_killed_run_logged_after_its_state_is_forgotten(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    loop.forget_later(log, 2)
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n'


def steps_logged(log):
    return log.read_text().count("\n") if log.exists() else 0


def together(*words, count=2):
    """The program as so many processes that train one network."""
    port = str(29000 + os.getpid() % 1000)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--master-port", port]
    command = [*launcher, "-m", "cmrrecon", "train", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_two_processes_step_as_one_that_accumulates(data, tmp_path):
    words = ["--recipe", "e2e-varnet", "--data", data, "--device", "cpu", *small("e2e-varnet")]
    done = together(*words, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "2 windows make a step (2 processes)" in done.stderr
    assert command(*words, "--out", tmp_path / "one", "--set", "optimiser.accumulate=2").exit_code == 0
    two, one = (checkpoint.load(tmp_path / name / "last.pt") for name in ("two", "one"))
    assert two["step"] == one["step"] > 1
    for key, value in two["parts"]["network"].items():
        torch.testing.assert_close(value, one["parts"]["network"][key], rtol=1e-3, atol=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert sum("validation" in line for line in lines) == 1


def test_processes_agree_on_banks_and_statistics_and_go_on(data, tmp_path):
    words = [
        "--recipe",
        "genre-cmr",
        "--data",
        data,
        "--device",
        "cpu",
        *small("genre-cmr", "schedule.epochs=2"),
        "--out",
        tmp_path / "run",
    ]
    assert together(*words, "--max-steps", 2).returncode == 0
    first = checkpoint.load(tmp_path / "run" / "last.pt")
    banks = first["parts"]["objective"]["alignment"]["banks"]
    assert len(banks) == 2
    assert len({entry[0] for entry in banks[0]}) == 2
    assert first["step"] == 2
    done = together(*words)
    assert done.returncode == 0, done.stderr
    assert checkpoint.load(tmp_path / "run" / "last.pt")["epoch"] == 2


@pytest.mark.parametrize(
    ("nodes", "first"), [("gpu[03-05,9],cpu1", "gpu03"), ("node7", "node7"), ("a1,a2", "a1"), ("n[1,4-6]", "n1"), ("", "")]
)
def test_the_first_node_of_slurms_list(nodes, first):
    assert first_host(nodes) == first


def test_another_recipe_does_not_go_on_with_a_run(data, tmp_path):
    words = ["--recipe", "promptmr", "--data", data, "--out", tmp_path / "run", "--max-steps", 1]
    assert command(*words, *small("promptmr")).exit_code == 0
    other = command(*words, *small("promptmr", "optimiser.lr=1e-5"))
    assert other.exit_code == 2
    assert "another recipe" in other.stderr
    assert command(*words, *small("promptmr", "schedule.epochs=5")).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "promptnr"], "Perhaps promptmr was meant"),
        (["--recipe", "promptmr", "--set", "losses.sim.weight=1"], "Perhaps ssim was meant"),
        (["--recipe", "promptmr", "--set", "optimiser.lr=fast"], "a finite number"),
        (["--recipe", "promptmr", "--set", "network.cascade=3"], "Perhaps cascades was meant"),
        (["--recipe", "promptmr", "--set", "lr"], "section.key=value"),
        (["--recipe", "promptmr", "--set", "losses.weighting=max"], "one of sum, variation"),
        (["--recipe", "genre-cmr", "--set", "data.domain=['planet']"], "no fact 'planet'"),
        (["--recipe", "promptmr", "--only", "modality=none"], "No scan is left"),
        (["--recipe", "promptmr", "--only", "mood=good"], "fact=value"),
        (["--recipe", "promptmr", "--hold-out", "vendor=none"], "fits no scan"),
        (["--recipe", "promptmr", "--max-steps", 0], "at least 1"),
        ([], "No recipe was named"),
    ],
)
def test_mistakes_are_told(data, tmp_path, words, message):
    done = command(*words, "--data", data, "--out", tmp_path / "run")
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_recipe_is_printed_with_every_value():
    done = command("--recipe", "genre-cmr", "--print-config", "--set", "losses.ear.weight=0")
    printed = json.loads(done.stdout)
    assert printed["losses"]["ear"]["weight"] == 0
    assert printed["losses"]["sda"]["weight"] == 1
    assert printed["network"]["cascades"] == 16


def test_a_folder_that_is_no_store_is_told(tmp_path):
    done = command("--recipe", "promptmr", "--data", tmp_path, "--out", tmp_path / "run")
    assert done.exit_code == 3
    assert "preprocess" in done.stderr


def windows(folder, **more):
    settings = {"sampling": Sampling(accelerations=(4.0,), acs=12), "data": Data(), "seed": 1, **more}
    return Windows(folder, read_entries(folder), 3, **settings)


def test_masks_change_from_epoch_to_epoch_and_not_with_the_order(data):
    seen = windows(data, sampling=Sampling(patterns=("kt-gaussian",), accelerations=(4.0,), acs=12))
    place = seen.places[4]
    first, again, later = seen.sample(place, 0), windows(data, sampling=seen.sampling).sample(place, 0), seen.sample(place, 1)
    assert torch.equal(first.kspace, again.kspace)
    assert not torch.equal(first.mask, later.mask)
    assert torch.equal(first.target, later.target)
    other = Windows(data, seen.entries, 3, seen.sampling, seen.data, 2).sample(place, 0)
    assert not torch.equal(first.mask, other.mask)
    held = windows(data, sampling=seen.sampling, fixed=True)
    assert torch.equal(held.sample(place, 0).mask, held.sample(place, 5).mask)


def test_a_sample_is_what_it_says(data):
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
    assert torch.equal(sample.mask, drawn[rows])


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


def test_batches_hold_windows_of_one_size_and_an_epoch_every_window(data):
    seen = windows(data)
    order = batches(seen, 0, 2)
    assert sorted((p.scan, p.frame) for batch in order for p in batch) == sorted((p.scan, p.frame) for p in seen.places)
    assert all(len({seen.shape(place) for place in batch}) == 1 for batch in order)
    assert order == batches(windows(data), 0, 2)
    assert order != batches(seen, 1, 2)


def test_domains_come_in_turn_and_rare_modalities_more_often(data):
    order = batches(windows(data, data=Data(domain=("centre",), in_turn=True)), 0, 1)
    domains = [windows(data, data=Data(domain=("centre",))).domain(batch[0]) for batch in order]
    assert domains[::2] == ["Center001"] * 6
    assert domains[1::2] == ["Center002"] * 6
    twice = batches(windows(data, data=Data(balance={"cine_sax": 2})), 0, 1)
    assert len(twice) == 18


def test_the_split_is_by_subject_and_does_not_move():
    entries = [{"centre": "A", "vendor": None, "subject": f"P{n:03d}", "path": f"{n}{kind}"} for n in range(200) for kind in ("sax", "lax")]
    train, held = split(entries, 0.15, 1)
    assert 0.08 < len(held) / len(entries) < 0.22
    assert not {entry["subject"] for entry in train} & {entry["subject"] for entry in held}
    assert list(split(entries[:100], 0.15, 1)[1]) == [e for e in held if e in entries[:100]]
    assert split(entries, 0.0, 1)[1] == []


def test_augmentation_keeps_the_coils_and_the_size():
    kspace = simulate("cine", frames=3, slices=1, coils=3, y=36, x=48, seed=0).scan.series(0).kspace
    kspace = kspace / kspace.abs().max()
    plain = augment(kspace, Data(), random.Random(1))
    assert torch.equal(plain, kspace)
    flipped = augment(kspace, Data(flip=1.0), random.Random(1))
    torch.testing.assert_close(augment(flipped, Data(flip=1.0), random.Random(1)), kspace, atol=1e-5, rtol=0)
    for data in (Data(gamma=0.3), Data(noise=0.1)):
        assert augment(kspace, data, random.Random(1)).shape == kspace.shape
        assert not torch.allclose(augment(kspace, data, random.Random(1)), kspace)
        assert torch.equal(augment(kspace, data, random.Random(1)), augment(kspace, data, random.Random(1)))


def test_a_damaged_state_is_told(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"no state")
    with pytest.raises(InputError, match="state of training"):
        checkpoint.load(tmp_path / "last.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(InputError, match="no state of training"):
        checkpoint.load(tmp_path / "list.pt")


def test_steps_without_finite_gradients_are_left_out(monkeypatch):
    chosen = recipe.load("e2e-varnet", SMALL["e2e-varnet"])
    run = loop.Run(chosen, torch.device("cpu"), loop.ALONE)
    before = [p.clone() for p in run.network.parameters()]
    for parameter in run.network.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    loop.update(run, chosen)
    assert all(torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))
    assert (run.step, run.bad_steps) == (1, 1)


def test_unknown_keys_name_the_nearest(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[network]\nname = "unet"\n[optimizer]\nlr = 1e-3\n')
    with pytest.raises(UsageError, match="Perhaps optimiser was meant"):
        recipe.load(str(path))
    path.write_text("[network\n")
    with pytest.raises(InputError, match="is not TOML"):
        recipe.load(str(path))
