"""`cmrrecon report`: scores, order, what is missing, and names that must not appear."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from report_folders import PLACE, SHAPE, truth_of, write
from typer.testing import CliRunner

from cmrrecon import evaluate, formats
from cmrrecon.cli.app import app
from cmrrecon.evaluation.generalisation import interval
from cmrrecon.pages.report import make


def report(*words):
    done = CliRunner().invoke(app, ["report", *map(str, words)])
    codes = re.findall(r"^error\[([a-z0-9-]+)\]", done.stderr, re.MULTILINE)
    return done.exit_code, codes, done


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two methods, 12 scans with a growing error; one scan lacks a method."""
    folder = tmp_path_factory.mktemp("tree")
    for subject in range(1, 13):
        write(folder, subject, "sense", 0.02 + 0.005 * subject, factor=(4, 8)[subject % 2])
        if subject != 5:
            write(folder, subject, "zero-filled", 0.2, factor=(4, 8)[subject % 2])
    return folder


@pytest.fixture(scope="module")
def made(tree):
    """The exit code, error codes and files of a report on the tree."""
    code, codes, done = report(tree / "rec", "--truth", tree / "data", "-o", tree / "a.html")
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return code, codes, (tree / "a.html").read_text(), json.loads((tree / "a.json").read_text())


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_scores_are_those_of_evaluate(tree, made):
    found = rows(tree / "a.csv")
    assert made[0] == 0
    assert len(found) == 23
    first = next(row for row in found if row["subject"] == "P003" and row["method"] == "sense")
    path = tree / "rec" / "sense" / PLACE.format("UnderSample_TaskR1", 3)
    scores = evaluate(path / "cine_sax_kus_ktGaussian8.h5", tree / "data")
    assert float(first["psnr"]) == pytest.approx(scores.psnr, abs=1e-9)
    assert (first["protocol"], first["reference_is"]) == ("fullfov", "noise-free truth")


def test_overview_has_intervals_and_the_effective_r(tree, made):
    overview = made[3]["overview"]
    found = [float(row["ssim"]) for row in rows(tree / "a.csv") if row["method"] == "sense"]
    line = next(row for row in overview["method"] if row["method"] == "sense")
    assert line["n"] == 12
    assert line["ssim"]["low"] == pytest.approx(interval(found)["low"], abs=1e-9)
    assert [row["n"] for row in overview["common"]] == [11, 11]
    by_r = {(row["acceleration"], row["method"]): row for row in overview["acceleration"]}
    assert by_r[8.0, "sense"]["effective_acceleration"] == [4.8, 4.8]


def test_every_title_of_scores_names_the_protocol(made):
    page = made[2]
    captions = re.findall(r"<caption>(.*?)</caption>", page)
    plots = re.findall(r"<figcaption>((?:PSNR|SSIM|NMSE).*?)</figcaption>", page)
    scores = [text for text in captions if "interval" in text]
    assert len(scores) == 5
    assert len(plots) == 3
    assert all("protocol fullfov" in text for text in scores + plots)


def test_worst_scans_come_first_and_ten_are_shown_in_detail(made):
    _, _, page, facts = made
    order = [scan["scan"] for scan in facts["scans"]]
    # The error of sense grows with the number of the subject.
    subjects = {scan["scan"]: scan["reconstructions"][0]["subject"] for scan in facts["scans"]}
    assert [subjects[number] for number in order] == [f"P{n:03}" for n in range(12, 0, -1)]
    assert re.findall(r'class="case" id="scan-(\d+)"', page) == order[:10]


def test_missing_method_is_a_warning(made):
    code, codes, page, facts = made
    assert (code, codes) == (0, [])
    assert [one["code"] for one in facts["problems"]] == ["method-missing"]
    assert "method-missing" in page


def test_page_requests_nothing(made):
    page = made[2]
    outside = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page)
    assert not outside
    assert "connect-src" not in page
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"https?://", page)


def test_named_scans_are_shown_too(tree):
    code, _, _ = report(
        tree / "rec", "--truth", tree / "data", "-o", tree / "b.html", "--show", "P001"
    )
    page = (tree / "b.html").read_text()
    assert code == 0
    assert len(re.findall('class="case"', page)) == 11
    assert report(tree / "rec", "-o", tree / "c.html", "--show", "P999")[1] == ["scan-unknown"]


def test_without_references_there_are_no_scores(tree):
    write(tree / "bare", 1, "auto", 0.1, extra={"data_residual": [3.0, 1.0], "choice": CHOICE})
    write(tree / "bare", 2, "auto", 0.1, extra={"warnings": ["slice 1 does not fit the data"]})
    code, codes, _ = report(tree / "bare" / "rec", "--json")
    page = (tree / "bare" / "rec" / "report.html").read_text()
    facts = json.loads((tree / "bare" / "rec" / "report.json").read_text())
    assert (code, codes) == (0, [])
    assert facts["protocol"] is None
    assert facts["overview"] is None
    assert "PSNR" not in page
    assert " dB" not in page
    assert "slice 1 does not fit the data" in page
    assert "kt-wavelet, weight 0.01, iterations 30" in page
    # The residual of the first scan is further from 1.
    assert [scan["scan"] for scan in facts["scans"]] == ["001", "002"]


CHOICE = {
    "slice": 1,
    "method": "kt-wavelet",
    "weight": 0.01,
    "iterations": 30,
    "error": 0.1,
    "trials": [],
}


def test_what_fails_is_listed_and_the_rest_is_made(tmp_path):
    write(tmp_path, 1, "sense", 0.1)
    broken = write(tmp_path, 2, "sense", 0.1)
    broken.write_bytes(broken.read_bytes()[:600])
    nan = write(tmp_path, 3, "sense", 0.1)
    stamp = formats.read_provenance(nan)
    images = torch.full(SHAPE, float("nan"))
    formats.write_images(nan, images.unbind(1), stamp)
    write(tmp_path, 4, "sense", 0.1)
    shutil.rmtree(tmp_path / "data" / PLACE.format("FullSample", 4))

    code, codes, _ = report(tmp_path / "rec", "--truth", tmp_path / "data")
    facts = json.loads((tmp_path / "rec" / "report.json").read_text())
    assert code == 1
    assert set(codes) == {"file-damaged", "images-not-finite", "reference-missing"}
    scored = [
        one["subject"]
        for scan in facts["scans"]
        for one in scan["reconstructions"]
        if one.get("psnr") is not None
    ]
    assert scored == ["P001"]


def test_two_subjects_of_the_same_name_are_not_scored(tmp_path):
    write(tmp_path, 1, "sense", 0.1, place="one/P001", source="one")
    write(tmp_path, 1, "sense", 0.1, place="two/P001", source="two")
    write(tmp_path, 2, "sense", 0.1)
    code, codes, _ = report(tmp_path / "rec", "--truth", tmp_path / "data")
    facts = json.loads((tmp_path / "rec" / "report.json").read_text())
    assert code == 1
    assert codes == ["scans-same-name"] * 2
    assert len(facts["scans"]) == 3
    assert [scan["reconstructions"][0].get("psnr") is None for scan in facts["scans"]].count(
        True
    ) == 2


def test_second_file_with_the_same_settings_is_refused(tmp_path):
    write(tmp_path, 1, "sense", 0.1, place="a")
    write(tmp_path, 1, "sense", 0.1, place="b")
    assert report(tmp_path / "rec")[1] == ["reconstruction-duplicate"]


def test_settings_distinguish_results_of_one_method(tmp_path):
    for weight in (0.1, 0.2):
        config = {"method": "sense", "slices": [0, 1], "options": {"weight": weight}}
        write(tmp_path, 1, "sense", 0.1, place=f"w{weight}", extra={"config": config})
    assert report(tmp_path / "rec")[0] == 0
    facts = json.loads((tmp_path / "rec" / "report.json").read_text())
    assert facts["methods"] == ["sense (weight 0.1)", "sense (weight 0.2)"]


def test_names_of_patients_appear_only_in_the_key(tmp_path):
    name = "Quixote^Alonso"
    place = f"{name}/{name}_1605"
    write(tmp_path, 1, "sense", 0.1, place=place, extra={"warnings": [f"/a/{name}/b.mat is odd"]})
    bare = tmp_path / "rec" / name / "Alonso_cine.npy"
    np.save(bare, np.ones((2, 1, 8, 8), np.float32))
    broken = tmp_path / "rec" / name / f"{name}.h5"
    broken.write_bytes(b"\x89HDF\r\n\x1a\n")

    code, codes, done = report(tmp_path / "rec", "--truth", tmp_path / "data", "--json")
    folder = tmp_path / "rec"
    shown = [(folder / f"report{suffix}").read_text() for suffix in (".html", ".csv", ".json")]
    assert code == 1
    assert set(codes) == {"file-damaged", "reference-missing"}
    for text in (*shown, done.stderr.replace(str(tmp_path), ""), done.stdout):
        assert not re.search("quixote|alonso|1605", text, re.IGNORECASE)
    key = rows(folder / "report_key.csv")
    assert [row["file"] for row in key if row["scan"] == "file 1"] == [f"{name}/{name}.h5"]


def test_report_is_replaced_only_on_request(tree, made):
    assert report(tree / "rec", "-o", tree / "a.html")[1] == ["output-exists"]
    assert report(tree / "rec", "-o", tree / "a.pdf")[1] == ["output-format"]
    assert report(tree / "nowhere")[1] == ["file-missing"]


def test_without_space_nothing_is_left(tmp_path, monkeypatch):
    write(tmp_path, 1, "sense", 0.1)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, codes, _ = report(tmp_path / "rec", "-o", tmp_path / "out" / "r.html")
    assert (code, codes) == (1, ["output-unwritable"])
    assert not list((tmp_path / "out").iterdir())


def test_page_stays_below_its_largest_size(tmp_path, monkeypatch):
    for subject in (1, 2, 3):
        write(tmp_path, subject, "sense", 0.1)
    monkeypatch.setattr(make, "LARGEST_PAGE", 5_000)
    assert report(tmp_path / "rec")[0] == 0
    facts = json.loads((tmp_path / "rec" / "report.json").read_text())
    assert {one["code"] for one in facts["problems"]} == {"report-full"}


def test_images_of_other_programs_join_the_scan_of_the_same_name(tmp_path):
    made = write(tmp_path, 1, "sense", 0.1)
    write(tmp_path, 2, "sense", 0.1)
    other = tmp_path / "rec" / "other" / PLACE.format("UnderSample_TaskR1", 1)
    other.mkdir(parents=True)
    images = formats.read_images(made).numpy()
    np.save(other / "cine_sax_kus_ktGaussian8.npy", images)
    code, _, _ = report(tmp_path / "rec", "--truth", tmp_path / "data")
    facts = json.loads((tmp_path / "rec" / "report.json").read_text())
    assert code == 0
    by_subject = {scan["label"].split()[1]: scan["reconstructions"] for scan in facts["scans"]}
    assert [one["method"] for one in by_subject["P001"]] == ["sense", "unnamed"]
    assert by_subject["P001"][0]["psnr"] == by_subject["P001"][1]["psnr"]
    assert [one["method"] for one in by_subject["P002"]] == ["sense"]


def test_perfect_images_have_an_infinite_psnr(tmp_path):
    write(tmp_path, 1, "sense", 0.0)
    write(tmp_path, 2, "sense", 0.1)
    assert report(tmp_path / "rec", "--truth", tmp_path / "data")[0] == 0
    facts = json.loads((tmp_path / "rec" / "report.json").read_text())
    found = {one["subject"]: one for scan in facts["scans"] for one in scan["reconstructions"]}
    assert found["P001"]["ssim"] == pytest.approx(1)
    assert float(found["P001"]["psnr"]) > 100


@pytest.mark.parametrize("protocol", ["fullfov", "2025"])
def test_the_worst_slice_is_shown(tmp_path, protocol):
    made = write(tmp_path, 1, "sense", 0.05)
    stamp = formats.read_provenance(made)
    stamp["config"]["slices"] = [0, 1, 2, 3]
    truth = truth_of(1)[:, :1].expand(-1, 4, -1, -1).clone()
    reference = next((tmp_path / "data").rglob("cine_sax_truth.npz"))
    maps = torch.ones((1, *SHAPE[2:]), dtype=torch.complex64)
    formats.write_truth(reference, truth.to(torch.complex64), maps)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    # Of four slices, the challenges score the first two.
    levels = torch.tensor([0.01, 0.1, 0.3, 0.02])[None, :, None, None]
    formats.write_images(made, (truth + levels * noise).abs().unbind(1), stamp)

    words = (tmp_path / "rec", "--truth", tmp_path / "data", "--protocol", protocol)
    assert report(*words)[0] == 0
    page = (tmp_path / "rec" / "report.html").read_text()
    assert f"Slice {2 if protocol == 'fullfov' else 1}, of 4, the one with the lowest" in page
