from dataclasses import replace

import pytest
from refusals import refused

from cmrrecon.data import Acquisition
from cmrrecon.formats.names import (
    is_timeless,
    kus_name,
    mask_name,
    mask_path_for,
    modality_of,
    parse_name,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "MultiCoil/Cine/TrainingSet/AccFactor04/P001/cine_sax.mat",
            Acquisition(
                "cine_sax",
                "Cine",
                2023,
                subject="P001",
                pattern="uniform",
                acceleration=4,
                coil="multi",
            ),
        ),
        (
            "MultiCoil/Mapping/ValidationSet/AccFactor10/P012/T1map_mask.mat",
            Acquisition(
                "T1map",
                "Mapping",
                2023,
                subject="P012",
                pattern="uniform",
                acceleration=10,
                coil="multi",
            ),
        ),
        (
            "ChallengeData/MultiCoil/Cine/ValidationSet/UnderSample_Task2/P002/cine_lvot_kus_ktRadial20.mat",
            Acquisition(
                "cine_lvot",
                "Cine",
                2024,
                subject="P002",
                pattern="kt-radial",
                acceleration=20,
                coil="multi",
            ),
        ),
        (
            "Cine/TrainingSet/Mask_Task1/P001/cine_sax_mask_Uniform10.mat",
            Acquisition(
                "cine_sax", "Cine", 2024, subject="P001", pattern="uniform", acceleration=10
            ),
        ),
        (
            "Aorta/TrainingSet/FullSample/P001/aorta_sag.mat",
            Acquisition("aorta_sag", "Aorta", 2024, subject="P001"),
        ),
        (
            "TaskR1/MultiCoil/Mapping/ValidationSet/UnderSample_TaskR1/Center004/UIH_15T_umr680/P007/T1mappost_kus_ktGaussian16.mat",
            Acquisition(
                "T1mappost",
                "Mapping",
                2025,
                "Center004",
                "UIH_15T_umr680",
                "P007",
                "kt-gaussian",
                16,
                coil="multi",
            ),
        ),
        (
            "MultiCoil/LGE/TrainingSet/FullSample/Center002/Siemens_30T_CIMA.X/P002/lge_lax_2ch.mat",
            Acquisition(
                "lge_lax_2ch", "LGE", 2025, "Center002", "Siemens_30T_CIMA.X", "P002", coil="multi"
            ),
        ),
        (
            "cine_sax_kus_Poisson1.5.h5",
            Acquisition("cine_sax", "Cine", pattern="poisson", acceleration=1.5),
        ),
        ("CMRxRecon2024/cine_sax.mat", Acquisition("cine_sax", "Cine", 2024)),
        ("T1w_kus.mat", Acquisition("T1w", "T1w", 2025)),
        ("cine_sax_truth.npz", Acquisition("cine_sax", "Cine")),
        ("t1map_ks.mat", Acquisition("t1map", "Mapping")),
        (
            "SingleCoil/Cine/P001/cine_sax.mat",
            Acquisition("cine_sax", "Cine", subject="P001", coil="single"),
        ),
        ("scan_of_monday", Acquisition("scan_of_monday")),
    ],
)
def test_names_and_folders_of_every_year(path, expected):
    found = parse_name("/data/" + path)
    assert replace(found, split=None) == expected
    assert found.split == next(
        (split for split in ("TrainingSet", "ValidationSet", "TestSet") if f"{split}/" in path),
        None,
    )


@pytest.mark.parametrize(
    ("variable", "year"),
    [
        ("kspace_sub04", 2023),
        ("kspace_single_full", 2023),
        ("kspace", 2025),
        ("kus", None),
        ("kspace_full", None),
    ],
)
def test_the_variable_gives_the_year_if_the_folders_do_not(variable, year):
    assert parse_name("/data/cine_sax.mat", variable).year == year


@pytest.mark.parametrize(
    ("path", "modality"),
    [
        ("MultiCoil/LGE/TrainingSet/Center001/P001/scan7.mat", "LGE"),
        ("MultiCoil/Mapping/cine_sax.mat", "Mapping"),
        ("MultiCoil/Other/cine_sax.mat", "Cine"),
        ("Mapping/scan7.mat", None),
    ],
)
def test_the_modality_is_the_folder_after_multicoil_if_it_is_one(path, modality):
    assert parse_name(path).modality == modality


@pytest.mark.parametrize(
    ("base", "modality"),
    [
        ("T1map", "Mapping"),
        ("T1mappost", "Mapping"),
        ("T1w", "T1w"),
        ("T1rho", "T1rho"),
        ("flow2d", "Flow2d"),
        ("cinema", None),
    ],
)
def test_the_modality_is_found_by_whole_words(base, modality):
    assert modality_of(base) == modality


def test_only_three_modalities_have_no_frames():
    assert [
        base
        for base in ("blackblood", "T1w", "T2w", "T1map", "cine_sax", "scan")
        if is_timeless(base)
    ] == ["blackblood", "T1w", "T2w"]


@pytest.mark.parametrize(
    ("pattern", "acceleration", "tail"),
    [
        ("kt-gaussian", 8, "ktGaussian8"),
        ("uniform", 10.0, "Uniform10"),
        ("kt-radial", 16, "ktRadial16"),
        ("random", 1.5, "Random1.5"),
        ("poisson", 4, "Poisson4"),
        ("variable-density", 4, "VariableDensity4"),
    ],
)
def test_names_for_writing_are_read_back(pattern, acceleration, tail):
    assert kus_name("cine_sax", pattern, acceleration) == f"cine_sax_kus_{tail}.mat"
    assert mask_name("cine_sax", pattern, acceleration) == f"cine_sax_mask_{tail}.mat"
    for name in (
        kus_name("cine_sax", pattern, acceleration),
        mask_name("cine_sax", pattern, acceleration),
    ):
        facts = parse_name(name)
        assert (facts.base, facts.pattern, facts.acceleration) == (
            "cine_sax",
            pattern,
            acceleration,
        )


def test_unknown_sampling_gives_a_short_name_and_invalid_patterns_are_refused():
    assert kus_name("T1w", None, None) == "T1w_kus.mat"
    assert mask_name("T1w", None, 4) == "T1w_mask.mat"
    with refused("unknown-pattern"):
        kus_name("T1w", "../x", 4)


@pytest.mark.parametrize(
    ("data", "mask"),
    [
        ("AccFactor04/P001/cine_sax.mat", "AccFactor04/P001/cine_sax_mask.mat"),
        (
            "UnderSample_Task1/P002/cine_lvot_kus_Uniform8.mat",
            "Mask_Task1/P002/cine_lvot_mask_Uniform8.mat",
        ),
        (
            "A/UnderSample_TaskR1/Center001/V/P007/cine_sax_kus_ktRadial16.mat",
            "A/Mask_TaskR1/Center001/V/P007/cine_sax_mask_ktRadial16.mat",
        ),
        (
            "UnderSample_TaskR2/Center001/V/P007/T1w_kus_Uniform8.mat",
            "Mask_TaskAll/Center001/V/P007/T1w_mask_Uniform8.mat",
        ),
        ("mine/cine_sax_kus_Random1.5.mat", "mine/cine_sax_mask_Random1.5.mat"),
        ("mine/T1w_kus.h5", "mine/T1w_mask.mat"),
    ],
)
def test_the_official_mask_is_found(tmp_path, data, mask):
    assert mask_path_for(tmp_path / data) is None
    other = tmp_path / mask.replace("_mask", "_mask_Uniform99")
    for path in (other, tmp_path / mask):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert mask_path_for(tmp_path / data) == tmp_path / mask
