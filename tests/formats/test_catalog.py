"""The table of formats: readers and writers confirm every claim, and the page contains it."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from format_samples import GEOMETRY, SAMPLES, scan

from cmrrecon import formats
from cmrrecon.formats import kinds
from cmrrecon.formats.catalog import CATALOG, HEADS, markdown
from cmrrecon.formats.writing import IMAGE_WRITERS, SCAN_WRITERS
from cmrrecon.tools import provenance
from cmrrecon.tools.files import first_bytes

PAGE = Path(__file__).parents[2] / "docs" / "scanner.md"
READ = [format for format in CATALOG if "scans" in format.reads]
IMAGES = [format for format in CATALOG if "images" in format.writes]


def name(format):
    return format.name


def suffixes(content):
    """The suffixes to which some format writes this content."""
    written = (format.suffixes for format in CATALOG if content in format.writes)
    return sorted(suffix for every in written for suffix in every)


def test_every_writer_has_a_row_and_every_row_a_writer():
    assert suffixes("scans") == sorted(SCAN_WRITERS)
    assert suffixes("images") == sorted(IMAGE_WRITERS)


def test_every_raw_format_has_a_row_and_every_row_a_format():
    raw = sorted(format.name for format in CATALOG if format.raw)
    assert raw == sorted(format.name for format in kinds.RAW_FORMATS)


def test_every_readable_format_has_a_sample():
    assert sorted(map(name, READ)) == sorted(SAMPLES)


@pytest.mark.parametrize("format", READ, ids=name)
def test_a_sample_has_its_format(format, tmp_path):
    path = SAMPLES[format.name](tmp_path)
    assert path.suffix in format.suffixes
    assert formats.kind(path) == "scan" or format.name == "NumPy .npy"
    found = kinds.raw_format(path)
    assert (None if found is None else found.name) == (format.name if format.raw else None)


def test_samples_cover_every_format_of_arrays(tmp_path):
    heads = []
    for format in READ:
        if not format.raw:
            folder = tmp_path / format.name
            folder.mkdir()
            heads.append(first_bytes(SAMPLES[format.name](folder), kinds.HEAD))
    for sniff, *_ in kinds.FORMATS:
        assert any(sniff(head) for head in heads), sniff


@pytest.mark.parametrize("format", READ, ids=name)
def test_reading_gives_what_the_row_says(format, tmp_path):
    made = formats.read(SAMPLES[format.name](tmp_path))
    only = None if made.mask is None else made.mask.calibration_only
    found = {
        "geometry": made.geometry is not None and made.geometry.voxel_mm is not None,
        "noise": made.noise is not None,
        "calibration": made.calibration is not None or (only is not None and bool(only.any())),
    }
    assert found == {
        "geometry": "scans" in format.geometry,
        "noise": format.noise,
        "calibration": format.calibration,
    }


@pytest.mark.parametrize("format", [f for f in CATALOG if "scans" in f.writes], ids=name)
def test_scans_keep_the_geometry_where_the_row_says_so(format, tmp_path):
    for suffix in format.suffixes:
        path = tmp_path / f"scan{suffix}"
        formats.write_scan(path, scan())
        kept = formats.read(path).geometry
        if "scans" in format.geometry:
            assert kept.voxel_mm == pytest.approx(GEOMETRY.voxel_mm)
            assert np.allclose(kept.positions_mm, GEOMETRY.positions_mm)
            assert np.allclose(kept.directions, GEOMETRY.directions)
        else:
            assert kept is None


@pytest.mark.parametrize("format", IMAGES, ids=name)
def test_images_keep_the_geometry_where_the_row_says_so(format, tmp_path):
    stamp = provenance.make(["test"], config={}, inputs=[], geometry=asdict(GEOMETRY))
    for suffix in format.suffixes:
        path = tmp_path / f"images{suffix}"
        formats.write_images(path, [torch.rand(2, 16, 12)] * 2, stamp)
        kept = formats.read_geometry(path)
        assert kept == (GEOMETRY if "images" in format.geometry else None)


def test_masks_and_images_are_read_where_the_row_says_so(tmp_path):
    """Each format reads what it has written."""
    for format in CATALOG:
        for suffix in format.suffixes:
            path = tmp_path / f"a{suffix}"
            if "images" in format.writes:
                formats.write_images(path, [torch.rand(2, 16, 12)] * 2)
                if "images" in format.reads:
                    assert formats.read_images(path).shape == (2, 2, 16, 12)
            if "masks" in format.writes:
                formats.write_mask(path, torch.ones(1, 16, 1, dtype=torch.bool), x=12)
                assert formats.read_mask(path).complete


def test_the_page_contains_the_table():
    """Made with python -c "from cmrrecon.formats.catalog import markdown; print(markdown())"."""
    assert markdown() in PAGE.read_text()
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    heads = f"| {' | '.join(HEADS)} |"
    assert rows.count(heads) == 1
