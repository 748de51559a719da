"""Where the scores of `evaluate` go: terminal, pipe, table, CSV, JSON, loud and quiet."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
import torch

from cmrrecon import formats
from cmrrecon.evaluation.generalisation import interval

SHAPE = (2, 1, 24, 30)
NUMBERS = re.compile(r"(\d+\.\d+) +(\d\.\d+) +(\d\.\d+(?:e-\d+)?) +(\d+\.\d+) +(\d\.\d+)$")


def write(folder, subject, method, level):
    """One reconstruction with its truth, in official folders."""
    generator = torch.Generator().manual_seed(subject)
    truth = torch.rand(SHAPE, generator=generator) + 0.1
    image = truth + level * torch.randn(SHAPE, generator=generator)
    place = f"MultiCoil/Cine/TestSet/{{}}/Center005/Siemens_30T_Vida/P{subject:03}"
    full = folder / "data" / place.format("FullSample") / "cine_sax_truth.npz"
    made = folder / method / place.format("UnderSample_TaskR1") / "cine_sax_kus_ktGaussian8.h5"
    full.parent.mkdir(parents=True, exist_ok=True)
    made.parent.mkdir(parents=True)
    maps = torch.ones((1, *SHAPE[2:]), dtype=torch.complex64)
    formats.write_truth(full, truth.to(torch.complex64), maps)
    facts = {"base": "cine_sax", "subject": f"P{subject:03}", "centre": "Center005"}
    stamp = {"acquisition": facts, "config": {"method": method, "slices": [0]}}
    formats.write_images(made, image.abs().unbind(1), stamp)
    return made


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """20 reconstructions of one method in the folder `sense`, 3 of another in `llr`."""
    folder = tmp_path_factory.mktemp("scans")
    for subject in range(1, 21):
        write(folder, subject, "sense", 0.05 + 0.002 * subject)
    for subject in range(1, 4):
        write(folder, subject, "llr", 0.02)
    return folder


def on_terminal(*words, columns=80):
    """Standard output of the program on a terminal of some columns, its standard error and code."""
    main, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    names = ("COLUMNS", "LINES")
    env = {key: value for key, value in os.environ.items() if key not in names}
    command = [sys.executable, "-m", "cmrrecon", *map(str, words)]
    with subprocess.Popen(command, stdout=end, stderr=subprocess.PIPE, env=env) as process:
        os.close(end)
        text = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
        errors = process.stderr.read().decode()
    os.close(main)
    return text.decode().replace("\r\n", "\n"), errors, process.returncode


def file_rows(text):
    return [line for line in text.split("\n") if "P0" in line and NUMBERS.search(line)]


def test_twenty_files_on_a_terminal_are_a_line_each_with_their_mean(scans):
    text, errors, code = on_terminal("evaluate", scans / "sense", "--truth", scans / "data")
    assert (code, errors) == (0, "")
    assert max(map(len, text.split("\n"))) <= 80
    rows = file_rows(text)
    assert len(rows) == len(set(rows)) == 20
    psnr = [float(NUMBERS.search(row)[1]) for row in rows]
    found = interval(psnr)
    for label, part in (("mean of 20", "mean"), ("95 % from", "low"), ("95 % to", "high")):
        (line,) = [line for line in text.split("\n") if line.startswith(label)]
        assert float(NUMBERS.search(line)[1]) == pytest.approx(found[part], abs=0.02)


def test_one_file_on_a_terminal_is_a_quiet_line_too(scans):
    (path,) = (scans / "sense").rglob("P007/*.h5")
    text, errors, code = on_terminal("evaluate", path, "--truth", scans / "data", "--quiet")
    assert (code, errors) == (0, "")
    (row,) = [line for line in text.split("\n") if NUMBERS.search(line)]
    assert row.startswith("cine_sax_kus_ktGaussian8.h5")
    assert len(row) <= 80
    assert "mean of" not in text


def test_a_pipe_gets_the_names_and_standard_error_the_tables(run, scans):
    done = run("evaluate", scans / "sense", "--truth", scans / "data")
    assert sorted(done.out.split()) == sorted(map(str, (scans / "sense").rglob("*.h5")))
    assert len(file_rows(done.err)) == 20
    quiet = run("evaluate", scans / "sense", "--truth", scans / "data", "--quiet")
    assert (quiet.out, quiet.err) == (done.out, "")


@pytest.mark.parametrize("requested", ["csv", "json"])
def test_a_requested_format_is_the_only_one(run, scans, requested):
    done = run("evaluate", scans / "sense", "--truth", scans / "data", "--format", requested)
    assert "P007" in done.out
    assert not file_rows(done.err)


@pytest.mark.parametrize("columns", [80, 100])
def test_the_table_goes_to_a_pipe_on_request(run, scans, columns):
    words = ("evaluate", scans / "sense", scans / "llr", "--truth", scans / "data")
    done = run(*words, "--format", "table", "-q", env={"COLUMNS": str(columns)})
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.split("\n"))) <= columns
    rows = file_rows(done.out)
    assert len(set(rows)) == 23
    assert sum("  llr  " in row for row in rows) == 3
    labels = [line for line in done.out.split("\n") if line.startswith("mean of")]
    assert [label.split()[2:4] for label in labels] == [["3", "llr"], ["20", "sense"]]


def test_csv_has_a_row_for_each_file_with_the_values_of_json(run, scans):
    words = ("evaluate", scans / "sense", "--truth", scans / "data")
    done = run(*words, "--format", "csv", "-q")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    *records, _ = run(*words, "--format", "json").records
    assert len(done.out.splitlines()) == 21
    for row, record in zip(rows, records, strict=True):
        assert row["input"] == record["input"]
        assert float(row["psnr"]) == record["psnr"]
        assert (row["protocol"], row["method"], row["subject"]) == (
            "fullfov",
            "sense",
            record["subject"],
        )
        assert row["vendor"] == ""


def test_json_is_the_same_by_both_options(run, scans):
    words = ("evaluate", scans / "llr", "--truth", scans / "data")
    one, other = run(*words, "--json"), run(*words, "--format", "json")
    assert one.out == other.out
    *records, summary = one.records
    assert [record["status"] for record in records] == 3 * ["done"]
    (mean,) = summary["mean"]
    assert (mean["method"], mean["n"]) == ("llr", 3)
    assert mean["psnr"] == interval([record["psnr"] for record in records])


def test_the_body_is_scored_by_the_command(run, scans):
    words = ("evaluate", scans / "llr", "--truth", scans / "data", "--protocol", "body")
    table = run(*words, "--format", "table").out
    *records, summary = run(*words, "--json").records
    assert {record["protocol"] for record in records} == {summary["protocol"]} == {"body"}
    assert all(0 < record["body_fraction"] <= 1 for record in records)
    assert all(f"{record['body_fraction']:.4f}" in table for record in records)
    rows = list(csv.DictReader(io.StringIO(run(*words, "--format", "csv").out)))
    assert [float(row["body_fraction"]) for row in rows] == [r["body_fraction"] for r in records]


def test_infinite_scores_are_shown_in_every_format(run, scans, tmp_path):
    (path,) = (scans / "data").rglob("P001/*.npz")
    truth = formats.read_images(path)
    for name in "ab":
        facts = {"acquisition": {"base": "cine_sax", "subject": "P001"}, "config": {"slices": [0]}}
        formats.write_images(tmp_path / f"{name}.h5", truth.unbind(1), facts)
    words = ("evaluate", tmp_path, "--truth", path)
    assert run(*words, "--format", "table").out.count("inf") == 10
    assert run(*words, "--format", "csv").out.count(",inf,") == 4
    assert all(json.loads(line) for line in run(*words, "--json").out.splitlines())


def test_a_file_that_fails_leaves_the_scores_of_the_others(run, scans, tmp_path):
    bad = tmp_path / "bad.h5"
    bad.write_bytes(b"nothing")
    words = ("evaluate", bad, scans / "llr", "--truth", scans / "data")
    done = run(*words, "--format", "csv", "-q")
    assert (done.code, done.codes) == (1, ["file-format"])
    assert len(done.out.splitlines()) == 4


def test_formats_that_do_not_exist_or_disagree_are_refused(run, scans):
    words = ("evaluate", scans / "llr", "--truth", scans / "data")
    for more, code in (
        (("--format", "xml"), "option-value"),
        (("--format", "csv", "--json"), "options-conflict"),
        (("--protocol", "body", "--heart", "0,8,0,8"), "options-conflict"),
        (("--protocol", "body", "--exclude-saturated"), "options-conflict"),
    ):
        done = run(*words, *more)
        assert (done.code, done.codes) == (2, [code])


def test_a_table_by_an_axis_needs_two_known_values(run, scans, tmp_path):
    """Otherwise it would repeat the means of the methods."""
    for subject, acceleration in ((1, 8), (2, 8), (3, 4)):
        (path,) = (scans / "sense").rglob(f"P{subject:03}/*.h5")
        facts = {"base": "cine_sax", "subject": f"P{subject:03}", "centre": "Center005"}
        for method, known in (("a", {"vendor": "Siemens_30T_Vida"}), ("b", {})):
            stamp = {
                "acquisition": {**facts, **known, "acceleration": acceleration},
                "config": {"method": method, "slices": [0]},
            }
            images = formats.read_images(path).unbind(1)
            formats.write_images(tmp_path / f"{method}{subject}.h5", images, stamp)

    words = ("evaluate", tmp_path, "--truth", scans / "data")
    titles = re.findall(r"^by (\w+);", run(*words, "--format", "table").out, re.MULTILINE)
    assert titles == ["acceleration"]
    groups = run(*words, "--json").records[-1]["groups"]
    assert {len(groups[axis]) for axis in ("vendor", "centre", "pattern")} == {2}
    assert len(groups["acceleration"]) == 4
