"""Tables as plain text, and names shortened to fit."""

import pytest

from cmrrecon.cli.text_table import shortened, text_table

OFFICIAL = [
    f"rec/MultiCoil/Cine/TestSet/UnderSample_TaskR1/Center00{n % 3}/Siemens_30T_Vida/P{n:03}/"
    "cine_sax_kus_ktGaussian8.h5"
    for n in range(20)
]


def test_rows_are_one_line_each_with_names_left_and_numbers_right():
    table = text_table("title", ["file", "PSNR"], [["a", "31.20"], ["bcd", "9.10"]], 80)
    assert table.split("\n") == [
        "title",
        "file   PSNR",
        "───────────",
        "a     31.20",
        "bcd    9.10",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_keeps_to_the_width_with_all_numbers(width):
    rows = [[name, "kt-unrolled (a-long-name-of-a-run)", "31.20", "0.9321"] for name in OFFICIAL]
    lines = text_table("title " * 30, ["file", "method", "PSNR", "SSIM"], rows, width, names=2)
    body = lines.split("\n")[-20:]
    assert max(map(len, lines.split("\n"))) <= width
    assert all(line.endswith("31.20  0.9321") for line in body)
    assert len(set(body)) == 20


def test_numbers_are_never_cut():
    table = text_table("t", ["file", *"abcd"], [["name-of-a-file", *4 * ["1234567.1234"]]], 20)
    assert table.count("1234567.1234") == 4


def test_intervals_go_below_their_means_where_there_is_no_room():
    rows = [["a-name-of-twenty-two", "31.20 [30.10, 32.30]", "0.9321 [0.9300, 0.9400]"]]
    wide = text_table("t", ["file", "PSNR", "SSIM"], rows, 80).split("\n")
    assert wide[-1].endswith("31.20 [30.10, 32.30]  0.9321 [0.9300, 0.9400]")
    narrow = text_table("t", ["file", "PSNR", "SSIM"], rows, 60).split("\n")
    assert [line.split() for line in narrow[-2:]] == [
        ["a-name-of-twenty-two", "31.20", "0.9321"],
        ["[30.10,", "32.30]", "[0.9300,", "0.9400]"],
    ]


def test_empty_rows_are_rules():
    lines = text_table("t", ["a", "b"], [["x", "1"], ["", ""], ["y", "2"]], 80).split("\n")
    assert lines[4] == lines[2] == "────"


@pytest.mark.parametrize("width", [14, 20, 30, 50])
def test_short_names_stay_different(width):
    for names in (OFFICIAL, [f"{'x' * 40}{n:02}{'y' * 40}" for n in range(20)]):
        short = shortened(names, width)
        assert len(set(short)) == 20
        assert max(map(len, short)) <= width


def test_names_that_fit_stay_and_common_folders_go_first():
    assert shortened(["data/a.h5", "data/b.h5"], 9) == ["data/a.h5", "data/b.h5"]
    assert shortened(["data/a.h5", "data/b.h5"], 8) == ["a.h5", "b.h5"]
    assert shortened(["/data/x/a.h5"], 8) == ["a.h5"]
    assert shortened(["data/one/a.h5", "data/two/a.h5"], 8) == ["one/a.h5", "two/a.h5"]
    assert shortened(["a.h5", "data/long/b.h5"], 9) == ["a.h5", "data…b.h5"]
    assert len(set(shortened(["/data/long/a.h5", "data/long/b.h5"], 9))) == 2


def test_names_without_a_folder_get_none():
    short = shortened(["none known", "this package", "owner/a-very-long-name-indeed"], 24)
    assert short[:2] == ["none known", "this package"]


def test_parts_that_differ_are_kept():
    short = shortened(OFFICIAL, 30)
    assert all(f"Center00{n % 3}/…/P{n:03}/" in name for n, name in enumerate(short))
    assert all(name.endswith("8.h5") for name in short)


def test_labels_of_sums_are_not_shortened():
    rows = [[name, "1"] for name in OFFICIAL]
    lines = text_table("t", ["file", "n"], [*rows, ["", ""], ["mean of 20", "2"]], 40).split("\n")
    assert lines[-1].startswith("mean of 20 ")
    assert max(map(len, lines)) <= 40


def test_the_same_name_twice_is_the_same_short_name():
    first, second = shortened([OFFICIAL[0], OFFICIAL[0]], 20)
    assert first == second
