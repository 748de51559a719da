import math

import pytest
from refusals import refused

from cmrrecon.evaluation.tables import final_aggregate, grouped


def record(psnr, ssim=0.5, nmse=0.1, **fields):
    return {
        "psnr": psnr,
        "ssim": ssim,
        "nmse": nmse,
        "protocol": "cmrxrecon2024",
        "order": "official",
        "method": "sense",
        **fields,
    }


def test_groups_have_their_mean_and_number_of_files():
    records = [
        record(30, 0.8, 0.01, modality="Cine", acceleration=8.0),
        record(32, 0.9, 0.03, modality="Cine", acceleration=16.0),
        record(40, 1.0, 0.05, modality="Mapping", acceleration=8.0),
        record(50, 0.7, 0.07, modality=None, acceleration=4.0),
    ]
    assert grouped(records, "modality") == {
        "Cine": {"n": 2, "psnr": 31, "ssim": pytest.approx(0.85), "nmse": pytest.approx(0.02)},
        "Mapping": {"n": 1, "psnr": 40, "ssim": 1.0, "nmse": 0.05},
        "unknown": {"n": 1, "psnr": 50, "ssim": 0.7, "nmse": 0.07},
    }
    by_factor = grouped(records, "acceleration")
    assert list(by_factor) == ["4", "8", "16"]
    assert by_factor["8"]["psnr"] == 35
    assert grouped([], "modality") == {}


def test_records_that_went_through_json_count_and_records_without_score_do_not():
    records = [
        record("inf", centre="A"),
        record(30, centre="A"),
        record(20, centre="B"),
        record(None, centre="B"),
        record(math.nan, centre="B"),
    ]
    groups = grouped(records, "centre")
    assert groups["A"]["psnr"] == math.inf
    assert groups["A"]["n"] == 2
    assert groups["B"]["psnr"] == 20
    assert groups["B"]["n"] == 1


def test_methods_are_never_averaged():
    records = [
        record(30, vendor="X"),
        record(40, vendor="X", method="tv"),
        record(50, vendor="X", method="tv"),
    ]
    assert {label: row["psnr"] for label, row in grouped(records, "vendor").items()} == {
        "sense, X": 30,
        "tv, X": 45,
    }
    assert {label: row["psnr"] for label, row in grouped(records, "method").items()} == {
        "sense": 30,
        "tv": 45,
    }


def test_protocols_and_orders_are_never_mixed():
    with refused("protocols-mixed"):
        grouped([record(30), record(30, protocol="fullfov")], "modality")
    with refused("protocols-mixed"):
        grouped([record(30), record(30, order="textbook")], "modality")


def cine_2023(base, factor, psnr, nmse=0.1, **fields):
    return record(
        psnr, nmse=nmse, base=base, acceleration=float(factor), protocol="cmrxrecon2023", **fields
    )


def test_the_2023_aggregate_follows_its_steps():
    records = [
        # cine_lax, R = 4: multi-coil mean (30 + 34) / 2 = 32, single-coil 33, which is larger;
        # NMSE 0.1 and 0.4, of which 0.4 is larger.
        cine_2023("cine_lax", 4, 30),
        cine_2023("cine_lax", 4, 34),
        cine_2023("cine_lax", 4, 33, nmse=0.4, coil="single"),
        # cine_sax, R = 4: only one coil type. Mean of the views at R = 4: (33 + 37) / 2 = 35,
        # NMSE 0.25.
        cine_2023("cine_sax", 4, 37, coil="multi"),
        # R = 8: one view, 25. Mean over R: (35 + 25) / 2 = 30, NMSE (0.25 + 0.1) / 2 = 0.175.
        cine_2023("cine_sax", 8, 25),
        cine_2023("T1map", 10, 41.123456),
        cine_2023("tagging", 4, 99),
        cine_2023("cine_sax", 24, 99),
    ]
    final = final_aggregate(records, 2023)
    assert set(final) == {
        f"{task}_{metric}" for task in ("Cine", "Mapping") for metric in ("PSNR", "SSIM", "NMSE")
    }
    assert final["Cine_PSNR"] == 30
    assert final["Cine_NMSE"] == 0.175
    assert final["Mapping_PSNR"] == 41.1235


def test_the_2024_aggregate_is_an_unweighted_mean_over_cells():
    fields = {"pattern": "uniform", "acceleration": 4.0}
    records = [
        record(30, base="cine_sax", **fields),
        record(32, base="cine_lvot", **fields),
        record(40, base="cine_sax", pattern="Uniform", acceleration=8.0),
        record(50, base="T1map", **fields),
        record(20, base="blackblood", **fields),
        record(99, base="cine_sax", pattern="uniform", acceleration=16.0),
        record(99, base="perfusion", **fields),
    ]
    final = final_aggregate(records, 2024)
    cells = {name: value for name, value in final.items() if name.endswith("PSNR")}
    assert cells == {
        "BlackBlood_Uniform4_PSNR": 20,
        "Cine_Uniform4_PSNR": 31,
        "Cine_Uniform8_PSNR": 40,
        "Mapping_Uniform4_PSNR": 50,
        "All_PSNR": 35.25,
    }


def test_the_2024_aggregate_of_task_2_pools_the_accelerations():
    records = [
        record(30, base="aorta_sag", pattern="ktGaussian", acceleration=4.0),
        record(20, base="aorta_tra", pattern="kt-gaussian", acceleration=24.0),
        record(35, base="tagging", pattern="kt-radial", acceleration=8.0),
        record(99, base="flow2d", pattern="kt-radial", acceleration=8.0),
    ]
    final = final_aggregate(records, 2024)
    assert final["Aorta_ktGaussian_PSNR"] == 25
    assert final["All_PSNR"] == 30
    assert not any(name.startswith("Flow2d") for name in final)
    both_tasks = [*records, record(30, base="cine_sax", pattern="uniform", acceleration=4.0)]
    assert final_aggregate(both_tasks, 2024) == {}


def test_the_2025_aggregate_punishes_missing_files():
    def at(centre, vendor, psnr, ssim, nmse):
        return record(
            psnr,
            ssim,
            nmse,
            centre=centre,
            vendor=vendor,
            protocol="cmrxrecon2025",
            acceleration=8.0,
        )

    records = [
        at("C1", "V", 30, 0.8, 0.02),
        at("C1", "V", 34, 0.9, 0.04),
        at("C1", "W", 20, 0.5, 0.1),
        at("C2", "V", 40, 1.0, 0.0),
    ]
    final = final_aggregate(records, 2025)
    assert final["C1_V_PSNR_adj"] == 32
    assert final["Mean_of_all_centers_PSNR_adj"] == round((32 + 20 + 40) / 3, 4)
    assert final["Mean_of_all_centers_NMSE_adj"] == round((0.03 + 0.1 + 0.0) / 3, 4)

    # A reconstruction of fully sampled data is no part of a submission.
    assert (
        final_aggregate([*records, at("C1", "V", 99, 1, 0) | {"acceleration": None}], 2025) == final
    )

    # Half of C1/V is missing: PSNR 64 / 4, SSIM 1.7 / 4, NMSE 0.03 x (2 - 2 / 4).
    final = final_aggregate(
        records, 2025, expected={("C1", "V"): 4, ("C1", "W"): 1, ("C2", "V"): 1, ("C3", "V"): 7}
    )
    assert final["C1_V_PSNR_adj"] == 16
    assert final["C1_V_SSIM_adj"] == 0.425
    assert final["C1_V_NMSE_adj"] == 0.045
    assert final["Mean_of_all_centers_PSNR_adj"] == round((16 + 20 + 40) / 3, 4)
    with refused("count-exceeded"):
        final_aggregate(records, 2025, expected={("C1", "V"): 1})


def test_there_is_no_final_value_unless_the_records_are_one_submission():
    one = record(30, base="cine_sax", pattern="uniform", acceleration=4.0)
    assert final_aggregate([one], 2024)["All_PSNR"] == 30
    assert final_aggregate([one], 2025) == {}
    assert final_aggregate([one, {**one, "method": "tv"}], 2024) == {}
    assert final_aggregate([one, {**one, "order": "textbook"}], 2024) == {}
    assert final_aggregate([], 2023) == {}
    assert final_aggregate([{**one, "base": "perfusion"}], 2024) == {}
    with refused("unknown-protocol"):
        final_aggregate([one], 2022)


def test_no_final_aggregate_of_2025_where_no_acceleration_is_known():
    record = {
        "psnr": 30.0,
        "ssim": 0.9,
        "nmse": 0.01,
        "centre": "Center001",
        "vendor": None,
        "acceleration": None,
    }
    assert final_aggregate([record], 2025) == {}
