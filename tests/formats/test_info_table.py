"""The table of settings beside a scan of 2025, whose column names are not documented."""

import pytest

from cmrrecon import formats
from cmrrecon.formats.info_table import read_facts

# The real headings are not known. These are likely ones.
ACROSS = (
    "PatientName,Pixel Spacing (mm),SliceThickness,MagneticFieldStrength,"
    "Temporal Resolution (ms),TR\n"
    "Doe 12,1.4\\1.5,8,2.9,40,3.1\n"
)
DOWN = (
    "Parameter,Value\npixel_spacing_mm,1.4,1.5\nslice thickness (mm),8\n"
    "Field Strength [T],2.9\nframe_time_ms,40\nTE,1.2\n"
)


@pytest.fixture
def read(scan, tmp_path):
    """Read the small scan with a table beside it."""

    def with_table(content, name="cine_sax_info.csv"):
        formats.write_scan(tmp_path / "cine_sax_kus_ktGaussian4.mat", scan)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return formats.read(tmp_path / "cine_sax_kus_ktGaussian4.mat")

    return with_table


@pytest.mark.parametrize("content", [ACROSS, DOWN, "\ufeff" + ACROSS, DOWN.replace("\n", "\r\n")])
def test_both_layouts_are_understood(read, content):
    found = read(content)
    assert found.geometry.voxel_mm == (1.4, 1.5, 8)
    assert found.geometry.frame_times_ms == (0, 40, 80)
    assert found.geometry.field_of_view is None, "challenge files stay uncropped"
    assert found.acquisition.field_strength == 2.9


def test_a_voxel_size_is_in_the_order_x_y_slice(read):
    assert read("Voxel size,1.5x1.4x8 mm\n").geometry.voxel_mm == (1.4, 1.5, 8)


def test_a_field_of_view_is_divided_by_the_pixels(read):
    found = read("FOV (mm),SliceThickness,Spacing between slices\n[360;320],8,10\n")
    assert found.geometry.voxel_mm == (32, 30, 10), "12 x 10 pixels, the gap included"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "TR,TE\n3,1\n",
        "pixel spacing\n",
        "pixel spacing,0,0\nslice thickness,8\n",
        "pixel spacing,1.4,1.5\n",
        "slice thickness,8\n",
        "field strength,300\n",
        b"\xff\xfe\x00\x01,\x00",
        '"pixel spacing\n' * 3,
        b"a" * 100000,
    ],
)
def test_unknown_and_implausible_values_are_left_out(read, content):
    found = read(content)
    assert found.geometry is None
    assert found.acquisition.field_strength is None


def test_the_table_of_another_scan_is_not_used(read):
    assert read(ACROSS, "cine_lax_info.csv").geometry is None


def test_the_first_of_two_equal_names_counts(tmp_path):
    (tmp_path / "a.csv").write_text("B0,1.5\nb0,3\n")
    assert read_facts(tmp_path / "a.csv") == {"b0": (1.5,)}
