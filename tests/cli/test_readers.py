"""`cmrrecon readers`: make a study, analyse the answers, and refuse bad input."""

import base64
import csv
import json
import re

import numpy as np
import pytest
from reader_studies import CRITERIA, content_of, write_exports, write_images

from cmrrecon.evaluation.reader_files import export_digest, read_key

METHODS = ("alpha", "bravo")
SUBJECTS = [f"P{n:03d}" for n in range(1, 9)]
WORDS = ("--criteria", ",".join(CRITERIA), "--repeats", 2)


def planted(reader, scan, methods, criterion, again):
    """alpha is one point better; reader 3 differs from the others, and from itself."""
    value = 2 + scan % 3 + (methods[0] == "alpha")
    return min(5, value + (reader == 3 and (scan + again) % 2))


@pytest.fixture(scope="module")
def study(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    folders = write_images(folder / "rec", METHODS, SUBJECTS)
    done = run("readers", "make", *folders, *WORDS, "-o", folder / "s.html", "--json")
    assert done.code == 0, done.err
    return folder, folders, done.records[0]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_study_is_described_and_found_finished_again(run, study):
    folder, folders, record = study
    assert (record["scans"], record["repeats"], record["presentations"]) == (8, 2, 20)
    assert record["methods"] == list(METHODS)
    again = run("readers", "make", *folders, *WORDS, "-o", folder / "s.html", "--json")
    assert again.records[0]["status"] == "skipped"
    text = (folder / "s.html").read_text()
    (folder / "s.html").unlink()
    again = run("readers", "make", *folders, *WORDS, "-o", folder / "s.html", "--json")
    assert again.records[0]["status"] == "done"
    assert (folder / "s.html").read_text() == text
    other = run("readers", "make", *folders, *WORDS, "-o", folder / "s.html", "--seed", 1)
    assert (other.code, other.codes) == (1, ["output-exists"])


def test_the_page_contains_no_name_and_the_key_no_path(study):
    folder, _, _ = study
    page = (folder / "s.html").read_text()
    pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    visible = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).lower()
    for word in (*METHODS, "cine_sax", "p001", ".npz", str(folder)):
        coded = (base64.b64encode(word.encode()).decode().rstrip("=")[:-1], word.encode().hex())
        assert not [text for text in (word, *coded) if text.lower() in visible]
        assert not [one for one in pictures if word.encode() in base64.b64decode(one)]
    assert len(pictures) == 16
    key = (folder / "s_key.json").read_text()
    assert str(folder) not in key
    assert "npz" not in key


def test_planted_ratings_are_recovered(run, study, tmp_path):
    folder, _, _ = study
    key = folder / "s_key.json"
    exports = write_exports(tmp_path / "exports", key, (1, 2, 3), planted)
    done = run("readers", "analyse", exports, "--key", key, "--out-dir", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert (found["readers"], found["scans"], found["repeats"]) == ([1, 2, 3], 8, 2)

    values = [planted(r, s, ("bravo",), "", False) for r in (1, 2, 3) for s in range(8)]
    bravo = next(r for r in found["summaries"] if r["method"] == "bravo")
    assert bravo["median"] == np.median(values)
    assert [row["difference"] for row in found["tests"]] == [1, 1]
    assert {row["p"] for row in found["tests"]} == {2 / 2**8}
    kappa = {(row["kind"], *row["readers"]): row["kappa"] for row in found["agreement"]}
    assert kappa["between", 1, 2] == kappa["within", 1] == 1
    assert kappa["between", 1, 3] < 1 > kappa["within", 3]
    for part in ("3 readers", "8 scans", "2 scans read twice", "Holm", "2 Wilcoxon", "quadratic"):
        assert part in found["protocol"]

    for name in ("answers", "ratings", "tests", "agreement"):
        rows = rows_of(tmp_path / "out" / f"{name}.csv")
        assert {row["protocol"] for row in rows} == {found["protocol"]}
    assert len(rows_of(tmp_path / "out" / "answers.csv")) == 3 * 20 * 2
    for name in ("ratings.png", "ratings.svg", "agreement.png", "agreement.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
    assert found["protocol"][:20] in done.err

    again = run("readers", "analyse", exports, "--key", key, "--out-dir", tmp_path / "out")
    assert again.code == 0
    words = ("--key", key, "--out-dir", tmp_path / "out")
    other = run("readers", "analyse", exports / "reader1.json", *words)
    assert (other.code, other.codes) == (1, ["output-exists"])


def test_planted_preferences_are_recovered_whatever_the_sides(run, tmp_path):
    methods = ("alpha", "bravo", "carol")
    folders = write_images(tmp_path / "rec", methods, SUBJECTS[:6])
    page = tmp_path / "p.html"
    done = run("readers", "make", *folders, "--pairs", "-o", page, "--readers", 2, "--repeats", 3)
    assert done.code == 0, done.err

    def better(reader, scan, shown, criterion, again):
        if "carol" not in shown:
            return 0 if scan == 0 else (1 if shown[0] == "alpha" else -1)
        return 1 if shown[0] == "carol" else -1

    key = tmp_path / "p_key.json"
    exports = write_exports(tmp_path / "exports", key, (1, 2), better)
    done = run("readers", "analyse", exports, "--key", key, "--out-dir", tmp_path / "out")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    rows = {tuple(row["methods"]): row for row in found["preferences"]}
    counts = {pair: (row["first"], row["ties"], row["second"]) for pair, row in rows.items()}
    assert counts == {
        ("alpha", "bravo"): (5, 1, 0),
        ("alpha", "carol"): (0, 0, 6),
        ("bravo", "carol"): (0, 0, 6),
    }
    assert rows["bravo", "carol"]["p"] == pytest.approx(2 / 2**6)
    assert rows["bravo", "carol"]["p_holm"] == pytest.approx(6 / 2**6)
    assert {row["kappa"] for row in found["agreement"]} == {1}
    assert (tmp_path / "out" / "preferences.png").exists()


def test_scans_that_cannot_be_shown_are_left_out_and_the_rest_is_made(run, tmp_path):
    named = tmp_path / "DOE_JANE"
    folders = write_images(named, METHODS, [f"DOE_JANE/{subject}" for subject in SUBJECTS[:6]])
    where = named / "bravo" / "DOE_JANE"
    (where / "P001" / "cine_sax.npz").unlink()
    np.savez(where / "P002" / "cine_sax.npz", image=np.full((3, 1, 12, 16), np.nan, np.float32))
    np.savez(where / "P003" / "cine_sax.npz", image=np.ones((3, 1, 12, 15), np.float32))
    (where / "P004" / "cine_sax.npz").write_bytes(b"PK\x03\x04 damaged")
    np.savez(where / "P005" / "cine_sax_truth.npz", image=np.ones((3, 1, 12, 16), np.float32))

    page = tmp_path / "s.html"
    done = run("readers", "make", *folders, "-o", page, "--json")
    assert done.code == 1
    assert sorted(done.codes) == sorted(
        ["file-damaged", "images-not-finite", "shape-mismatch", "scan-repeated"]
        + 2 * ["method-missing"]
    )
    assert (done.records[-1]["status"], done.records[-1]["scans"]) == ("done", 1)
    printed = done.err + done.out.replace(str(page), "") + page.read_text()
    assert "DOE" not in printed + (tmp_path / "s_key.json").read_text()


def test_methods_are_read_from_the_files_and_named_by_the_user_otherwise(
    run, undersampled, tmp_path
):
    for method in ("zero-filled", "sense"):
        words = ("reconstruct", undersampled, "-m", method, "--out-dir", tmp_path / "rec", "-q")
        assert run(*words).code == 0
    page = tmp_path / "s.html"
    done = run("readers", "make", tmp_path / "rec", "-o", page, "--json")
    assert done.code == 0, done.err
    assert sorted(done.records[0]["methods"]) == ["sense", "zero-filled"]
    assert read_key(tmp_path / "s_key.json").scans[0]["pattern"] == "kt-gaussian"


def test_options_that_cannot_be_used_are_refused(run, study, tmp_path):
    folder, folders, _ = study
    one = folder / "rec" / "alpha"
    for words, exit_code, code in (
        ([folders[0]], 2, "methods-few"),
        ([one], 3, "method-unnamed"),
        (["=x"], 2, "option-value"),
        (["a=/no/such/folder", folders[1]], 3, "file-missing"),
        ([*folders, "--criteria", "A,,B"], 2, "option-value"),
        ([*folders, "--criteria", "A", "--criteria", "A"], 2, "name-repeated"),
        ([*folders, "-o", tmp_path / "a.pdf"], 2, "output-format"),
        ([*folders, "-o", tmp_path / "a.html", "--key", tmp_path / "a.html"], 2, "output-shared"),
    ):
        output = [] if "-o" in words else ["-o", tmp_path / "a.html"]
        done = run("readers", "make", *words, *output)
        assert (done.code, done.codes) == (exit_code, [code]), (words, done.err)
    assert not list(tmp_path.iterdir())
    planned = run("readers", "make", *folders, "-o", tmp_path / "a.html", "--dry-run", "--json")
    assert planned.records[0]["scans"] == 8
    assert not list(tmp_path.iterdir())


def test_exports_that_cannot_be_trusted_are_left_out(run, study, tmp_path):
    folder, _, _ = study
    key = folder / "s_key.json"
    known = read_key(key)
    good = content_of(known, 1, lambda *facts: planted(1, *facts))
    # This reader stopped after seven answers of forty.
    good["answers"] = good["answers"][:7]
    good["digest"] = export_digest(known.identifier, 1, good["answers"])
    edited = json.loads(json.dumps(good))
    edited["answers"][0][2] = edited["answers"][0][2] % 5 + 1
    rating = content_of(known, 2, lambda *facts: 7)
    empty = content_of(known, 2, lambda *facts: 3) | {"answers": []}
    empty["digest"] = export_digest(known.identifier, 2, [])
    files = {
        "good.json": (good, None),
        "edited.json": (edited, "export-edited"),
        "renumbered.json": ({**good, "reader": 2}, "export-edited"),
        "other.json": ({**good, "study": "0" * 16}, "export-mismatch"),
        "values.json": (rating, "export-damaged"),
        "empty.json": (empty, "ratings-missing"),
        "zlast.json": (good, "reader-repeated"),
        "list.json": ([1], "export-damaged"),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "text.json").write_text("{")

    for name, (_, code) in files.items():
        if code not in (None, "reader-repeated"):
            done = run("readers", "analyse", tmp_path / name, "--key", key, "--out-dir", "never")
            assert (done.code, done.codes) == (3, [code]), name

    words = ("--key", key, "--out-dir", tmp_path / "out")
    done = run("readers", "analyse", tmp_path, *words)
    expected = [code for _, code in files.values() if code] + ["export-damaged"]
    assert (done.code, sorted(done.codes)) == (1, sorted(expected))
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert (found["readers"], found["missing"]) == ([1], 33)


def test_a_key_that_was_changed_is_refused(run, study, tmp_path):
    folder, _, _ = study
    key = tmp_path / "key.json"
    text = (folder / "s_key.json").read_text()
    for changed in (text.replace('"alpha", "bravo"', '"bravo", "alpha"'), "{}", "text"):
        key.write_text(changed)
        done = run("readers", "analyse", tmp_path, "--key", key)
        assert (done.code, done.codes) == (3, ["key-damaged"])
