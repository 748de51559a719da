"""Files of the same scan by several methods are found without mixing patients."""

from dataclasses import replace
from pathlib import Path

import pytest

from cmrrecon.data import Acquisition
from cmrrecon.evaluation.reader_scans import ImageFile, matched, official_facts
from cmrrecon.formats import parse_name


def file(path, method, source=None):
    whole = Path("/data") / method / path
    return ImageFile(whole, Path(path).parent, method, path, parse_name(whole), source)


def names(scans):
    return [{method: found.label for method, found in scan.items()} for scan in scans]


def test_scans_are_matched_by_subject_in_other_folders_too():
    files = [file("P001/cine_sax.npz", "a"), file("x/P001/cine_sax.npz", "b")]
    scans, problems = matched([*files, file("P002/cine_sax.npz", "a")], ["a", "b"])
    assert names(scans) == [{"a": "P001/cine_sax.npz", "b": "x/P001/cine_sax.npz"}]
    assert [problem.code for problem in problems] == ["method-missing"]


def test_scans_that_only_another_method_has_are_reported():
    files = [file("P001/cine_sax.npz", m) for m in "ab"] + [file("P002/cine_sax.npz", "b")]
    scans, problems = matched(files, ["a", "b"])
    assert len(scans) == 1
    assert [problem.code for problem in problems] == ["method-missing"]


def test_two_subjects_of_the_same_name_are_kept_apart_by_their_folders():
    paths = ("siteA/P001/cine_sax.npz", "siteB/P001/cine_sax.npz")
    scans, problems = matched([file(path, m) for m in "ab" for path in paths], ["a", "b"])
    assert names(scans) == [{"a": path, "b": path} for path in paths]
    assert not problems
    # With one of them missing, the other one is no substitute.
    scans, problems = matched([file(p, "a") for p in paths] + [file(paths[0], "b")], ["a", "b"])
    assert names(scans) == [{"a": paths[0], "b": paths[0]}]
    assert [problem.code for problem in problems] == ["method-missing"]


def test_files_that_cannot_be_told_apart_are_refused():
    files = [file(f"P001/{name}.npz", m) for m in "ab" for name in ("cine_sax", "cine_sax_truth")]
    scans, problems = matched(files, ["a", "b"])
    assert not scans
    assert {problem.code for problem in problems} == {"scan-repeated"}


def test_files_of_different_kspace_in_different_folders_are_different_scans():
    first, second = file("siteA/P001/cine_sax.npz", "a"), file("siteB/P001/cine_sax.npz", "b")
    methods = ["a", "b"]
    assert len(matched([first, second], methods)[0]) == 1
    pair = [replace(first, source="1"), replace(second, source="2")]
    assert not matched(pair, methods)[0]


def test_files_without_a_known_subject_must_be_in_the_same_folder():
    methods = ["a", "b"]
    apart = [file("doe/cine.npz", "a"), file("roe/cine.npz", "b")]
    assert not matched(apart, methods)[0]
    assert len(matched([file("doe/cine.npz", "a"), file("doe/cine.npz", "b")], methods)[0]) == 1


def test_a_reference_serves_all_samplings_of_its_scan():
    sampled = [file(f"P001/cine_sax_kus_Uniform{r}.npz", "sense") for r in (4, 8)]
    files = [file("P001/cine_sax_truth.npz", "reference"), *sampled]
    scans, problems = matched(files, ["reference", "sense"])
    assert [scan["sense"].facts.acceleration for scan in scans] == [4, 8]
    assert {scan["reference"] for scan in scans} == {files[0]}
    assert not problems


@pytest.mark.parametrize("subject", ["DOE_JANE", "P1", "P001_DOE"])
def test_facts_never_contain_a_name(subject):
    facts = Acquisition(base="DOE_JANE_cine", subject=subject, centre="Center001")
    assert official_facts(facts) == {"centre": "Center001"}
