"""Lesions of the phantom lie in their boxes, move with the wall and are listed in a table."""

import json
import math

import pytest
import torch
from typer.testing import CliRunner

from cmrrecon.cli.app import app
from cmrrecon.formats.labels import LabelRow, read_labels, write_labels
from cmrrecon.simulation import KINDS, simulate
from cmrrecon.simulation.heart import Heart, heart_layers
from cmrrecon.simulation.lesions import KINDS as TISSUES_OF_LESIONS
from cmrrecon.simulation.lesions import Lesion, box_of
from cmrrecon.simulation.shapes import grid
from cmrrecon.simulation.tissues import TISSUES, Layer, paint

SMALL = {"slices": 2, "coils": 1, "y": 96, "x": 216, "snr_db": math.inf}
PLACE = "MultiCoil/Cine/TrainingSet/FullSample/Center000/Simulated_30T_phantom"


def changed(kind, **settings):
    """Pixels that lesions change, (frame, slice, y, x) bool, and the boxes of the lesions."""
    made, without = (
        simulate(kind, **{**SMALL, **settings}, lesions=lesions) for lesions in (True, False)
    )
    assert without.lesions is None
    return (made.image - without.image).abs() > 1e-6, made.lesions


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 3])
def test_lesions_change_their_boxes_and_nothing_else(kind, seed):
    found, boxes = changed(kind, seed=seed)
    assert [box is None for box in boxes].count(True) == 1
    for index, box in enumerate(boxes):
        if box is None:
            assert not found[:, index].any()
            continue
        y0, y1, x0, x1 = box
        assert found[:, index, y0:y1, x0:x1].flatten(1).float().mean(1).min() > 0.2
        # Edges rise over one or two pixels.
        found[:, index, y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = False
        assert not found[:, index].any()


def test_boxes_of_radial_scans_refer_to_their_square_images():
    found, boxes = changed("cine", frames=2, spokes=8, x=120, seed=0)
    assert found.shape[-2:] == (96, 96)
    for index, box in enumerate(boxes):
        if box:
            y0, y1, x0, x1 = box
            assert found[:, index, y0:y1, x0:x1].float().mean() > 0.2
            found[:, index, y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = False
    assert not found.any()


def test_every_second_slice_has_a_lesion_and_people_differ():
    assert all(
        (Lesion.draw(seed, 0) is None) != (Lesion.draw(seed, 1) is None) for seed in range(40)
    )
    assert Lesion.draw(7, 4) == Lesion.draw(7, 4)
    assert 10 <= sum(Lesion.draw(seed, 0) is None for seed in range(40)) <= 30
    drawn = [lesion for seed in range(40) for lesion in [Lesion.draw(seed, 0)] if lesion]
    assert {lesion.tissue for lesion in drawn} == set(TISSUES_OF_LESIONS)
    assert len({lesion.angle for lesion in drawn}) == len(drawn)


@pytest.mark.parametrize(
    "lesion", [Lesion("oedema", 0.5, 0.5, 0.8), Lesion("haemorrhage", math.pi, 0.5, 1.0)]
)
def test_a_lesion_lies_in_the_wall_and_moves_with_it(lesion):
    rows, columns = grid(160, 360)
    phase = torch.tensor([0.0, 0.36])

    def shares(lesion, *tissues):
        layers = [
            Layer(layer.tissue, layer.cover, torch.zeros(1))
            for layer in heart_layers(heart, 0.5, phase, rows, columns, None, lesion)
        ]
        return paint(layers, {name: torch.tensor([float(name in tissues)]) for name in TISSUES})

    heart = Heart.draw(1)
    healthy, patch = shares(None, "myocardium", "ischaemia"), shares(lesion, lesion.tissue)
    assert (patch <= healthy + 1e-4).all()
    # Being part of the wall, it keeps its volume and grows in the slice as the wall does.
    area = patch.sum((1, 2))
    assert 1.0 < area[1] / area[0] < 1.35
    # Its centre approaches that of the ventricle, which moves less.
    y, x = ((patch * axis).sum((1, 2)) / area for axis in (rows, columns))
    squeeze = torch.tensor([0.0, 1.0])
    centre = [
        c + 4 * 0.5 * k + s * squeeze
        for c, k, s in zip(heart.centre, (1, 1.5), heart.shift, strict=True)
    ]
    distance = torch.hypot(y - centre[0], x - centre[1])
    assert distance[0] - distance[1] > 3


def test_the_box_contains_all_pixels_half_covered_in_any_frame():
    covered = torch.zeros(2, 6, 8)
    covered[0, 2, 3], covered[1, 3, 5], covered[1, 0, 0] = 0.8, 0.4, 0.3
    assert box_of(covered) == (2, 4, 3, 6)


def command(*words):
    return CliRunner().invoke(
        app,
        [
            "simulate",
            "--frames",
            "1",
            "--slices",
            "2",
            "--coils",
            "1",
            "--size",
            "48x80",
            *map(str, words),
        ],
    )


def test_runs_into_one_folder_keep_the_rows_of_earlier_ones(tmp_path):
    done = command("--lesions", "--out-dir", tmp_path, "--seed", 1, "--json")
    assert done.exit_code == 0, done.output
    boxes = json.loads(done.stdout)["lesions"]
    assert command("--lesions", "--out-dir", tmp_path, "--seed", 0).exit_code == 0
    rows = read_labels(tmp_path / "labels.csv")
    assert [(row.file, row.slice) for row in rows] == [
        (f"{PLACE}/P00{n}/cine_sax.mat", index) for n in (1, 2) for index in (0, 1)
    ]
    assert all((tmp_path / row.file).is_file() for row in rows)
    assert [row.label == "normal" for row in rows] == [row.box is None for row in rows]
    assert [row.box and list(row.box) for row in rows[2:]] == boxes
    # The lost rows of a finished scan are restored; a scan made without lesions has none.
    write_labels(tmp_path / "labels.csv", [LabelRow("other.mat", None, "lesion", None)])
    assert command("--lesions", "--out-dir", tmp_path, "--seed", 1).exit_code == 0
    assert read_labels(tmp_path / "labels.csv") == [
        *rows[2:],
        LabelRow("other.mat", None, "lesion", None),
    ]
    assert command("--out-dir", tmp_path, "--seed", 1).exit_code == 1  # another recipe
    assert command("--out-dir", tmp_path, "--seed", 1, "--overwrite").exit_code == 0
    assert read_labels(tmp_path / "labels.csv") == [LabelRow("other.mat", None, "lesion", None)]


def test_a_scan_without_lesions_writes_no_table(tmp_path):
    assert command("--out-dir", tmp_path).exit_code == 0
    assert command("--lesions", "--out-dir", tmp_path, "--seed", 5, "--dry-run").exit_code == 0
    assert not (tmp_path / "labels.csv").exists()


def test_lesions_are_refused_for_a_single_file(tmp_path):
    done = command("--lesions", "-o", tmp_path / "a.h5")
    assert done.exit_code == 2
    assert "labels.csv" in done.stderr
