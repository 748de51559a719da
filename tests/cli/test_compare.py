"""`cmrrecon compare`: networks beside methods, and the row of edges."""

import hashlib
import json
import os
from xml.etree import ElementTree

import pytest
import torch

from cmrrecon import formats
from cmrrecon.evaluation import protocols
from cmrrecon.losses.edge_aware import edge_aware_loss
from cmrrecon.networks.catalog import build
from cmrrecon.networks.checkpoints import weights

SMALL = {
    "unet": {"channels": 4, "pools": 2},
    "e2e-varnet": {
        "cascades": 1,
        "channels": 4,
        "pools": 2,
        "sensitivity_channels": 4,
        "sensitivity_pools": 2,
    },
    "patch-gan": {},
}


def checkpoint(folder, name="unet", seed=0):
    torch.manual_seed(seed)
    folder.mkdir(exist_ok=True)
    weights.save(folder / "best.safetensors", build(name, SMALL[name]), {})
    return folder / "best.safetensors"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def config_of(svg):
    (text,) = [
        part.text
        for part in ElementTree.parse(svg).iter("{http://purl.org/dc/elements/1.1/}description")
    ]
    return json.loads(text)["config"]


def test_networks_are_columns_beside_the_methods(run, undersampled, truth, tmp_path):
    first, second, other = (
        checkpoint(tmp_path / "a"),
        checkpoint(tmp_path / "b", seed=1),
        checkpoint(tmp_path / "c", "e2e-varnet"),
    )
    figure = tmp_path / "figure.svg"
    files = [word for path in (first, second, other) for word in ("--checkpoint", path)]
    done = run(
        "compare",
        undersampled,
        "-m",
        "zero-filled",
        *files,
        "--truth",
        truth,
        "-o",
        figure,
        "--json",
    )
    assert done.code == 0, done.err
    names = ["zero-filled", "unet (a)", "unet (b)", "e2e-varnet"]
    assert (
        [record["method"] for record in done.records[:-1]] == names == done.records[-1]["methods"]
    )
    digests = dict(zip(names[1:], map(sha256, (first, second, other)), strict=True))
    assert [record.get("weights") for record in done.records[:-1]] == [None, *digests.values()]
    assert len({record["psnr"] for record in done.records[:-1]}) == 4
    assert config_of(figure)["weights"] == digests
    for words in ("kt-gaussian, nominal R 4, effective R ", "unet (b), ", "e2e-varnet, "):
        assert f">{words}" in figure.read_text()


def test_the_score_of_a_network_is_that_of_its_reconstruction(run, undersampled, truth, tmp_path):
    path = checkpoint(tmp_path / "a")
    done = run(
        "compare",
        undersampled,
        "-m",
        "zero-filled",
        "--checkpoint",
        path,
        "--truth",
        truth,
        "-o",
        tmp_path / "f.png",
        "--json",
    )
    run("reconstruct", undersampled, "--checkpoint", path, "--slices", 1, "-o", tmp_path / "a.h5")
    alone = run("evaluate", tmp_path / "a.h5", "--truth", truth, "--json").records[0]
    assert done.records[1]["method"] == alone["method"] == "unet"
    assert done.records[1]["psnr"] == pytest.approx(alone["psnr"], abs=1e-4)


def test_the_same_weights_are_one_column_and_other_weights_another_figure(
    run, undersampled, tmp_path
):
    path = checkpoint(tmp_path / "a")
    words = [
        "compare",
        undersampled,
        "-m",
        "zero-filled",
        "--checkpoint",
        path,
        "-o",
        tmp_path / "f.png",
        "--json",
    ]
    done = run(*words, "--checkpoint", path)
    assert done.records[-1]["methods"] == ["zero-filled", "unet"]
    assert run(*words).records[-1]["status"] == "skipped"
    checkpoint(tmp_path / "a", seed=1)
    again = run(*words)
    assert (again.code, again.codes) == (1, ["output-exists"])


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_finished_figure_is_skipped(run, undersampled, tmp_path, suffix):
    words = ["compare", undersampled, "-m", "zero-filled", "-o", tmp_path / f"f{suffix}", "--json"]
    assert [run(*words).records[-1]["status"] for _ in range(2)] == ["done", "skipped"]
    other = run(*words, "--frame", 1)
    assert (other.code, other.codes) == (1, ["output-exists"])


def test_edges_add_a_row_and_the_similarity_there(run, undersampled, truth, tmp_path):
    words = [
        "compare",
        undersampled,
        "-m",
        "zero-filled,sense",
        "--truth",
        truth,
        "--slice",
        0,
        "--json",
    ]
    plain = run(*words, "-o", tmp_path / "plain.svg")
    done = run(*words, "-o", tmp_path / "edges.svg", "--edges")
    assert done.code == 0, done.err
    run("reconstruct", undersampled, "-m", "zero-filled", "--slices", 0, "-o", tmp_path / "zero.h5")
    image, target = (
        formats.read_images(path)[:, 0].abs().double() for path in (tmp_path / "zero.h5", truth)
    )
    image *= (image * target).sum() / image.square().sum()
    expected = 1 - float(edge_aware_loss(image, target))
    similarity = [record["edge_similarity"] for record in done.records[:-1]]
    assert similarity[0] == pytest.approx(expected, abs=1e-6)
    assert similarity[1] > similarity[0]
    assert "edge_similarity" not in plain.records[0]
    assert f">edges {expected:.3f}<" in (tmp_path / "edges.svg").read_text()
    assert [
        ">edge region<" in (tmp_path / f"{name}.svg").read_text() for name in ("plain", "edges")
    ] == [False, True]
    assert config_of(tmp_path / "edges.svg")["edges"] is True
    assert "edges" not in config_of(tmp_path / "plain.svg")


def test_what_cannot_be_compared_is_refused_before_anything_is_done(run, undersampled, tmp_path):
    figure = tmp_path / "f.png"
    critic = checkpoint(tmp_path / "d", "patch-gan")
    for words, exit_code, code in (
        (("--edges", "-o", figure), 2, "option-needs"),
        (("--checkpoint", tmp_path / "absent.safetensors", "-o", figure), 3, "file-missing"),
        (("--checkpoint", critic, "-o", figure), 2, "network-kind"),
        (("-m", "zero-filled", "--frame", 3, "-o", figure), 2, "frame-missing"),
        (("-m", "zero-filled", "-o", tmp_path / "f.txt"), 2, "output-format"),
    ):
        done = run("compare", undersampled, *words)
        assert (done.code, done.codes) == (exit_code, [code]), done.err
    assert os.listdir(tmp_path) == ["d"]


def test_a_network_that_refuses_the_scan_is_left_out(run, tmp_path):
    pytest.importorskip("finufft", reason="needs finufft, the extra nufft")
    radial = tmp_path / "radial.h5"
    run(
        "simulate",
        "--frames",
        2,
        "--slices",
        1,
        "--coils",
        2,
        "--size",
        "32x48",
        "--spokes",
        8,
        "-o",
        radial,
    )
    words = ["--checkpoint", checkpoint(tmp_path / "a"), "-o", tmp_path / "f.png", "--json"]
    done = run("compare", radial, "-m", "zero-filled", *words)
    assert done.code == 1, done.err
    drawn, failed, last = done.records
    assert (drawn["status"], drawn["method"]) == ("reconstructed", "zero-filled")
    assert (failed["status"], failed["method"]) == ("failed", "unet")
    assert [failed["error"]["code"]] == done.codes
    assert last["methods"] == ["zero-filled"]
    assert run("compare", radial, "-m", "zero-filled", *words).codes == ["output-exists"]
    alone = run("compare", radial, *words, "--overwrite", "-m", "grappa")
    assert {record["status"] for record in alone.records} == {"failed"}
    assert (alone.code, len(alone.codes)) == (2, 2)


def test_a_memory_shortage_in_one_column_does_not_stay(
    run, undersampled, truth, tmp_path, monkeypatch
):
    words = ["compare", undersampled, "-m", "zero-filled,sense", "--truth", truth]
    words += ["-o", tmp_path / "f.png", "--json"]
    score = protocols.score
    calls = []

    def short_of_memory(*pair, **options):
        calls.append(pair)
        if len(calls) == 1:
            raise MemoryError
        return score(*pair, **options)

    monkeypatch.setattr(protocols, "score", short_of_memory)
    first = run(*words)
    assert (first.code, first.codes) == (1, ["memory-shortage"])
    failed, drawn, last = first.records
    assert (failed["method"], failed["exit_code"]) == ("zero-filled", 4)
    assert (drawn["method"], drawn["status"]) == ("sense", "scored")
    assert last["methods"] == ["sense"]
    assert formats.read_provenance(tmp_path / "f.png")["config"]["methods"] == ["sense"]
    assert run(*words).records[-1]["status"] != "skipped"
    again = run(*words, "--overwrite")
    assert (again.code, again.records[-1]["methods"]) == (0, ["zero-filled", "sense"])
    assert run(*words).records[-1]["status"] == "skipped"


def test_images_that_cannot_be_scored_leave_the_other_columns(run, undersampled, truth, tmp_path):
    corner = torch.zeros(3, 64, 96)
    corner[..., 0, 0] = 1
    formats.write_images(tmp_path / "corner.h5", [corner])
    words = ["compare", undersampled, "--truth", truth, "--protocol", "body", "--json"]
    words += ["-o", tmp_path / "f.png", "--images", f"corner={tmp_path / 'corner.h5'}"]
    alone = run(*words)
    assert (alone.code, alone.codes) == (3, ["images-flat"])
    assert not (tmp_path / "f.png").exists()
    done = run(*words, "-m", "zero-filled")
    assert (done.code, done.codes) == (1, ["images-flat"])
    assert (done.records[-1]["methods"], done.records[-1]["images"]) == (["zero-filled"], [])


def test_trials_are_printed_with_verbose_only(run, undersampled, tmp_path):
    words = ["compare", undersampled, "-m", "llr", "-o"]
    short = run(*words, tmp_path / "a.png").err.splitlines()
    full = run(*words, tmp_path / "b.png", "--verbose").err.splitlines()
    (decision,) = [line for line in short if line.startswith("llr: ")]
    (trials,) = [line for line in full if line.startswith("llr: ")]
    assert trials.startswith(decision)
    assert trials.count("llr ") > decision.count("llr ")


def test_a_folder_is_not_compared(run, undersampled):
    done = run("compare", undersampled.parent, "-m", "zero-filled", "--json")
    assert done.code == 2
    assert json.loads(done.out)["error"]["code"] == "input-several"
