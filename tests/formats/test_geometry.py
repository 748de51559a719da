"""A geometry as JSON, also from invalid files."""

import json

import pytest

from cmrrecon.data import Geometry
from cmrrecon.formats.geometry import geometry_from_json, geometry_of, geometry_to_json

WHOLE = Geometry(
    voxel_mm=(1.5, 2.0, 8.0),
    positions_mm=((0.0, 5.0, 0.0),),
    directions=(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),),
    frame_times_ms=(0.0, 40.5),
    field_of_view=(10, 6),
    recon_matrix=(20, 12),
)


@pytest.mark.parametrize("geometry", [WHOLE, Geometry(field_of_view=(3, 4))])
def test_a_geometry_round_trips(geometry):
    assert geometry_from_json(geometry_to_json(geometry)) == geometry


@pytest.mark.parametrize("text", ["", "null", "[1]", "{}", "{", "[" * 100000, '{"voxel_mm": null}'])
def test_texts_without_a_geometry_give_none(text):
    assert geometry_from_json(text) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("voxel_mm", [1, 2]),
        ("voxel_mm", [1, 2, 0]),
        ("voxel_mm", [1, 2, float("nan")]),
        ("voxel_mm", "123"),
        ("positions_mm", [[1, 2, "3"]]),
        ("positions_mm", 4),
        ("directions", [[[1, 0, 0], [0, 1, 0]]]),
        ("frame_times_ms", [0, True]),
        ("field_of_view", [0, 4]),
        ("recon_matrix", [4, 100000]),
        ("recon_matrix", [4, float("inf")]),
    ],
)
def test_invalid_values_are_left_out(name, value):
    stored = json.loads(geometry_to_json(WHOLE)) | {name: value}
    found = geometry_of(stored)
    assert getattr(found, name) is None
    other = "frame_times_ms" if name != "frame_times_ms" else "voxel_mm"
    assert getattr(found, other) == getattr(WHOLE, other)
