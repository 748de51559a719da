from dataclasses import replace
from pathlib import Path

import pytest
from refusals import refused

from cmrrecon.cli.inputs import find_jobs, natural
from cmrrecon.cli.settings import decision_text, parse_numbers, parse_settings, parse_slices
from cmrrecon.methods.decision import Decision, Trial


def test_settings_become_values():
    texts = ["weight=1e-3", "iterations=50", "calibration=first", "flag=true", "acs=auto"]
    assert parse_settings(texts) == {
        "weight": 1e-3,
        "iterations": 50,
        "calibration": "first",
        "flag": True,
        "acs": None,
    }
    assert isinstance(parse_settings(["n=5"])["n"], int)


@pytest.mark.parametrize("text", ["weight", "=1", "weight=", ""])
def test_settings_without_key_or_value_are_refused(text):
    with refused("option-value"):
        parse_settings([text])


def test_slices():
    assert parse_slices(None, 3) == [0, 1, 2]
    assert parse_slices("2, 0-1,1", 3) == [0, 1, 2]
    for text in ("3", "2-1"):
        with refused("slice-missing"):
            parse_slices(text, 3)
    for text in ("a", "", "0-", "-1"):
        with refused("option-value"):
            parse_slices(text, 3)


def test_numbers():
    assert parse_numbers("204x448", 2, "x", "--size", "--size 204x448") == [204, 448]
    with refused("option-value"):
        parse_numbers("204", 2, "x", "--size", "--size 204x448")


def test_folders_are_searched_in_natural_order(tmp_path):
    for name in ("P10/a.mat", "P9/a.mat", "P9/.hidden.mat", "P9/b.txt", "P9/.a.h5.parts/a.mat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    jobs = find_jobs([str(tmp_path)], lambda path: path.suffix == ".mat")
    assert [job.folder.name for job in jobs] == ["P9", "P10"]
    assert natural(tmp_path / "P9") < natural(tmp_path / "P10")
    again = find_jobs(
        [str(tmp_path), str(tmp_path / "P9/a.mat")], lambda path: path.suffix == ".mat"
    )
    assert len(again) == 2


def test_globs_keep_the_tree_below_their_fixed_part(tmp_path):
    for name in ("Cine/P1/a.mat", "Cine/P2/a.mat"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    jobs = find_jobs([f"{tmp_path}/**/a.mat"], lambda path: True)
    assert [str(job.folder) for job in jobs] == ["Cine/P1", "Cine/P2"]


def test_nothing_to_do_is_reported(tmp_path):
    for text in (str(tmp_path), f"{tmp_path}/*.mat"):
        with refused("file-missing"):
            find_jobs([text], lambda path: True)


def test_a_decision_is_shown_with_what_was_tried():
    good = Decision("llr", 0.03, 20, (Trial("llr", 0.03, 20, 0.0012),), "9 lines")
    for part in ("llr, weight 0.03, 20 iterations", "slice 3", "9 lines", "llr 0.03 x 20: 0.0012"):
        assert part in decision_text(3, good)
    both = replace(good, partner=Trial("kt-wavelet", 0.01, 35, 0.0013), share=0.3)
    assert "30% of kt-wavelet, weight 0.01, 35 iterations" in decision_text(3, both)
    given = Decision("llr", 0.03, 20, (), "all settings were given")
    assert "all settings were given" in decision_text(0, given)


def test_errors_are_shown_in_units_of_the_noise_and_for_each_method():
    trials = (Trial("llr", 0.03, 20, 0.2), Trial("llr", 0.1, 20, 0.12), Trial("tv", 0.01, 30, 0.3))
    made = Decision(
        "llr", 0.1, 20, trials, "9 lines", noise=0.1, error=0.12, maps_errors=(0.3, 0.2)
    )
    text = decision_text(0, made)
    assert "the choice 1.2, llr 1.2, tv 3" in text
    assert "ESPIRiT maps 0.3, with refined maps 0.2" in text


def test_paths_that_go_up_are_files_like_others(tmp_path, monkeypatch):
    (tmp_path / "a.mat").touch()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    (job,) = find_jobs(["../a.mat"], lambda path: True)
    assert (job.path, job.folder) == (Path("../a.mat"), Path())
