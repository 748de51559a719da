import math
import random

import pytest
from refusals import refused

from cmrrecon.evaluation.generalisation import (
    cells,
    differences,
    domain,
    interval,
    paired,
    placed,
    table,
)


def record(psnr, method="a", centre="C1", vendor="V", reference="r1", **more):
    return {
        "psnr": psnr,
        "ssim": psnr / 50,
        "nmse": 1 / psnr,
        "protocol": "fullfov",
        "order": "official",
        "method": method,
        "centre": centre,
        "vendor": vendor,
        "reference": reference,
        **more,
    }


def test_interval_by_hand():
    found = interval([1.0, 2.0, 3.0, 6.0])
    assert found["mean"] == 3
    assert found["std"] == pytest.approx((14 / 3) ** 0.5)
    assert 1 <= found["low"] < 3 < found["high"] <= 6
    assert interval([4.0]) == {"mean": 4, "std": 0, "low": 4, "high": 4, "n": 1}
    assert interval([1.0, 2.0]) == interval([1.0, 2.0])
    infinite = interval([1.0, math.inf])
    assert (infinite["mean"], infinite["std"], infinite["high"]) == (math.inf,) * 3


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    draw = random.Random(1)
    covered = 0
    for _ in range(100):
        found = interval([draw.gauss(0, 1) for _ in range(25)])
        covered += found["low"] <= 0 <= found["high"]
    assert 85 <= covered <= 100


def test_rows_are_the_combinations_of_axes_and_methods():
    records = placed(
        [record(30), record(32), record(20, centre="C2"), record(25, "b")], unseen=["C2"]
    )
    assert [domain(r) for r in records] == ["C1/V", "C1/V", "C2/V", "C1/V"]
    rows = table(records, ["seen"])
    assert [(row["seen"], row["method"], row["n"], row["psnr"]["mean"]) for row in rows] == [
        ("seen", "a", 2, 31), ("seen", "b", 1, 25), ("unseen", "a", 1, 20),
    ]  # fmt: skip
    assert len(table(records, ["domain", "method"])) == 3
    assert cells(rows[2], ["seen"])[:3] == ["unseen", "a", "1"]
    assert cells(rows[2], ["seen"])[3] == "20.00 [20.00, 20.00]"


def test_a_domain_is_unseen_by_its_centre_or_by_both_its_names():
    records = [
        record(30, centre="C1"),
        record(30, centre="C10"),
        record(30, centre="C1", vendor="W"),
    ]
    assert [r["seen"] for r in placed(records, ["C1"])] == ["unseen", "seen", "unseen"]
    assert [r["seen"] for r in placed(records, ["C1/W"])] == ["seen", "seen", "unseen"]


def test_differences_are_formed_within_each_row_too():
    records = [record(30 + n, "a", reference=str(n), centre=f"C{n % 2}") for n in range(4)]
    records += [record(31 + n + n % 2, "b", reference=str(n), centre=f"C{n % 2}") for n in range(4)]
    rows = differences(placed(records, ["C1"]), ["seen", "method"], "a", ["b"])
    assert [(row["seen"], row["method"], row["n"], row["psnr"]["mean"]) for row in rows] == [
        ("all", "b", 4, 1.5), ("seen", "b", 2, 1), ("unseen", "b", 2, 2),
    ]  # fmt: skip
    assert len(differences(records, [], "a", ["b"])) == 1


def test_what_is_unseen_may_be_named_by_a_fact():
    records = [
        record(30, vendor="Siemens_30T_Vida", modality="Cine"),
        record(30, vendor="UIH_15T_x", modality="Mapping"),
    ]
    for name in ("modality=Cine", "vendor=Siemens", "field=3.0T"):
        assert [r["seen"] for r in placed(records, [name])] == ["unseen", "seen"]


def test_differences_are_between_the_same_files():
    records = [record(30 + n, "a", reference=str(n)) for n in range(5)] + [
        record(32 + n, "b", reference=str(n)) for n in range(4)
    ]
    found = paired(records, "a", "b")
    assert (found["psnr"]["mean"], found["psnr"]["std"], found["psnr"]["n"]) == (2, 0, 4)
    with refused("records-ambiguous"):
        paired([*records, record(31, "a", reference="1")], "a", "b")
    assert paired([*records, record(31, "a", reference="1", seed=5)], "a", "b")["psnr"]["n"] == 4
    other = [record(30, "a", pattern="x"), record(31, "b", pattern="y")]
    with refused("records-unpaired"):
        paired(other, "a", "b")


def test_what_cannot_be_compared_is_refused():
    with refused("unknown-axis"):
        table([record(30)], ["planet"])
    with refused("protocols-mixed"):
        table([record(30), record(30) | {"protocol": "other"}], ["domain"])
