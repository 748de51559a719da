"""Tables of labels: read, matched to files, written, merged and refused."""

import multiprocessing
from pathlib import Path

import pytest
from refusals import refused

from cmrrecon.formats.labels import (
    LabelRow,
    is_normal,
    labels_of_files,
    read_labels,
    replace_labels,
    rows_for,
    write_labels,
)

HEADER = "file,slice,label,y0,y1,x0,x1\n"
ROWS = [
    LabelRow("P001/cine_sax.mat", 2, "lesion", (96, 108, 210, 224)),
    LabelRow("P001/cine_sax.mat", 0, "normal", None),
    LabelRow("P002/cine_sax.mat", None, "scar, old", None),
]


def table(folder, text):
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_is_read_as_it_was_written(tmp_path):
    write_labels(tmp_path / "new" / "labels.csv", ROWS)
    assert read_labels(tmp_path / "new" / "labels.csv") == ROWS


def test_the_columns_are_read_by_name(tmp_path):
    text = (
        "\ufeffreader,x0,x1,Y0, y1 ,label,slice,file\r\nA,3,5.0,1,2,lesion,0.0,a.mat\r\n"
        ",,,,,,,\r\nB,,,,,Normal,,b.mat\r\n"
    )
    assert read_labels(table(tmp_path, text)) == [
        LabelRow("a.mat", 0, "lesion", (1, 2, 3, 5)),
        LabelRow("b.mat", None, "Normal", None),
    ]
    assert [is_normal(label) for label in ("normal", "None", "NORMAL", "lesion", "normally")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("file,slice,label,y0,y1,x0\n", "x1"),
        ("file,slice,label,y0,y0,x0,x1\n", "y0, y1"),
        (HEADER + "a.mat,0,lesion,1,2,3\n", "line 2"),
        (HEADER + "a.mat,0,lesion,1,2,3,4\na.mat,0,lesion,1,2,3,4,5\n", "line 3"),
        (HEADER + ",0,lesion,1,2,3,4\n", "line 2"),
        (HEADER + "a.mat,0, ,1,2,3,4\n", "line 2"),
        (HEADER + "a.mat,-1,lesion,1,2,3,4\n", "line 2"),
        (HEADER + "a.mat,1.5,lesion,1,2,3,4\n", "line 2"),
        (HEADER + "a.mat,0,lesion,-1,2,3,4\n", "line 2 has a y0"),
        (HEADER + "a.mat,0,lesion,1,2,3,nan\n", "line 2 has a x1"),
        (HEADER + "a.mat,0,lesion,1,2,3,9999999999\n", "line 2 has a x1"),
        (HEADER + "a.mat,0,lesion,1,2,3,2000000\n", "line 2 has a x1"),
        (HEADER + "a.mat,0,lesion,2,2,3,4\n", "line 2"),
        (HEADER + "a.mat,0,lesion,1,2,4,3\n", "line 2"),
        (HEADER + "a.mat,0,lesion,1,2,,\n", "y0, y1"),
        (HEADER + "a.mat,0,normal,1,2,3,4\n", "line 2"),
        (HEADER + '"a\nb",0,lesion,1,2,3,4\na.mat,x,lesion,,,,\n', "line 4"),
        (HEADER.encode() + b"\xff\xfe,0,lesion,,,,\n", ""),
        (HEADER + "a" * 200_000 + ",0,lesion,,,,\n", ""),
    ],
)
def test_invalid_rows_are_refused_with_their_line(tmp_path, text, place):
    with refused("labels-table") as error:
        read_labels(table(tmp_path, text))
    assert place in str(error.value)
    assert str(tmp_path / "labels.csv") in str(error.value)


def test_a_missing_table_is_refused(tmp_path):
    with refused("file-missing"):
        read_labels(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").touch()
    with refused("file-empty"):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    "name",
    [
        "cine.mat",
        "cine",
        "P001/cine.mat",
        "P001/cine",
        "/data/P001/cine.mat",
        "/data/P001/cine",
        "./P001/cine.mat",
    ],
)
def test_files_are_matched_by_the_end_of_their_path(name):
    row = LabelRow(name, None, "lesion", None)
    assert rows_for([row], Path("/data/P001/cine.mat")) == [row]


@pytest.mark.parametrize(
    "name",
    [
        "ine.mat",
        "cine.h5",
        "P002/cine.mat",
        "001/cine.mat",
        "/P001/cine.mat",
        "P001",
        "cine_sax",
        ".",
        "/",
    ],
)
def test_other_files_do_not_match(name):
    assert rows_for([LabelRow(name, None, "lesion", None)], Path("/data/P001/cine.mat")) == []


def test_rows_that_may_mean_another_file_are_refused():
    rows = [
        LabelRow("cine.mat", None, "lesion", None),
        LabelRow("P001/cine.mat", None, "normal", None),
    ]
    with refused("labels-ambiguous"):
        rows_for(rows, Path("/data/P001/cine.mat"))
    assert rows_for(rows, Path("/data/P002/cine.mat")) == rows[:1]


def test_labels_are_distributed_among_files():
    paths = [
        Path("/data/P001/cine_sax.mat"),
        Path("/data/P002/cine_sax.mat"),
        Path("/data/P003/cine_sax.mat"),
    ]
    assert labels_of_files(ROWS, paths) == {paths[0]: ROWS[:2], paths[1]: ROWS[2:], paths[2]: []}
    with refused("labels-ambiguous") as error:
        labels_of_files([LabelRow("cine_sax", None, "lesion", None)], paths)
    assert all(str(path) in str(error.value) for path in paths[:2])


def test_the_rows_of_one_file_are_replaced_and_others_kept(tmp_path):
    path = tmp_path / "labels.csv"
    replace_labels(path, "P002/cine_sax.mat", ROWS[2:])
    replace_labels(path, "P001/cine_sax.mat", ROWS[:2])
    assert read_labels(path) == ROWS
    new = LabelRow("P001/cine_sax.mat", 1, "normal", None)
    replace_labels(path, "P001/cine_sax.mat", [new])
    assert read_labels(path) == [new, ROWS[2]]
    replace_labels(path, "P001/cine_sax.mat", [])
    assert read_labels(path) == ROWS[2:]
    path.write_text("nonsense\n")
    with refused("labels-table"):
        replace_labels(path, "a.mat", ROWS)
    assert path.read_text() == "nonsense\n"


def test_processes_that_write_at_once_keep_each_others_rows(tmp_path):
    path, names = tmp_path / "labels.csv", [f"P{number:03d}/cine.mat" for number in range(40)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(
            replace_labels,
            [(path, name, [LabelRow(name, None, "normal", None)]) for name in names],
            chunksize=1,
        )
    assert [row.file for row in read_labels(path)] == names


def test_a_table_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with refused("output-unwritable"):
        replace_labels(tmp_path / "file" / "labels.csv", "a.mat", ROWS)
