"""Where pixels are, from the geometry of images and what replaces unknown parts of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from placed_images import CENTRE, VOXEL, geometry, turned
from refusals import refused

from cmrrecon.data import Geometry
from cmrrecon.formats.export import Export
from cmrrecon.formats.placement import affine_of, notes_of, placement_of, spacing_of

SHAPE = (2, 3, 12, 10)
LEFT_HANDED = turned() * [1, 1, -1]


def test_the_reference_pixel_is_at_the_position():
    place = placement_of(geometry(2, 3, turned()), SHAPE)
    centre = place.corners[0] + 6 * 1.5 * place.along_y[0] + 5 * 2.0 * place.along_x[0]
    assert np.allclose(centre, CENTRE)
    assert (place.pixel_mm, place.thickness_mm, place.known) == ((1.5, 2.0), 8.0, True)
    assert place.step_ms == pytest.approx(40)


@pytest.mark.parametrize("axes", [turned(), LEFT_HANDED])
def test_the_affine_maps_indices_to_right_front_head(axes):
    place = placement_of(geometry(2, 3, axes), SHAPE)
    order, affine = affine_of(place)
    assert order == [0, 1, 2]
    there = affine @ [5, 6, 2, 1]
    expected = np.array(CENTRE) + 16 * axes[:, 2]
    assert np.allclose(there[:3], expected * [-1, -1, 1])
    assert np.sign(np.linalg.det(affine)) == np.sign(np.linalg.det(axes))


def test_interleaved_slices_are_sorted():
    order, affine = affine_of(placement_of(geometry(2, 3, turned(), (0, 2, 1)), SHAPE))
    assert order == [0, 2, 1]
    assert np.allclose(np.linalg.norm(affine[:3, 2]), 8)


def irregular():
    known = geometry(2, 3, turned())
    x, y, z = known.positions_mm[2]
    moved = replace(known, positions_mm=(*known.positions_mm[:2], (x, y, z + 1.0)))
    tilted = replace(
        known, directions=(*known.directions[:2], geometry(2, 1, np.eye(3)).directions[0])
    )
    return {"unequal": geometry(2, 3, turned(), (0, 1, 3)), "bent": moved, "tilted": tilted}


@pytest.mark.parametrize("name", irregular())
def test_slices_that_are_no_stack_have_no_affine(name):
    place = placement_of(irregular()[name], SHAPE)
    with refused("slices-not-stacked"):
        affine_of(place)
    assert spacing_of(place) is None


def test_the_spacing_comes_from_positions_and_the_thickness_from_the_voxel():
    place = placement_of(geometry(2, 3, turned(), (0, 2, 4)), SHAPE)
    assert spacing_of(place) == pytest.approx(16)
    assert place.thickness_mm == VOXEL[2]
    assert spacing_of(placement_of(geometry(1, 1, turned()), (1, 1, 12, 10))) == 8.0


def test_unknown_parts_are_replaced():
    place = placement_of(None, SHAPE)
    assert (place.pixel_mm, place.thickness_mm, place.known) == ((1.0, 1.0), 1.0, False)
    assert place.step_ms is None
    _, affine = affine_of(place)
    # The middle pixel of the middle slice is at the centre of the scanner.
    assert np.allclose(affine @ [5, 6, 1, 1], [0, 0, 0, 1])

    sized = placement_of(None, SHAPE, (1.5, 2.0, 8.0))
    assert (sized.pixel_mm, sized.thickness_mm) == ((1.5, 2.0), 8.0)
    stated = placement_of(Geometry(VOXEL), SHAPE, (9.0, 9.0, 9.0))
    assert stated.pixel_mm == VOXEL[:2]


def test_times_of_another_number_of_frames_are_not_used():
    known = geometry(3, 3, turned())
    assert placement_of(known, SHAPE).times_ms is None
    same = replace(known, frame_times_ms=(5.0, 5.0))
    assert placement_of(same, SHAPE).step_ms is None


def test_directions_are_made_perpendicular():
    x, y, across = turned().T
    skewed = (tuple(y + 0.005 * x), tuple(x * 1.001), tuple(-across))
    known = replace(geometry(2, 3, turned()), directions=(skewed,) * 3)
    place = placement_of(known, SHAPE)
    axes = np.stack([place.along_x[0], place.along_y[0], place.across[0]])
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.allclose(axes[2], -across)


def test_notes_name_what_is_assumed():
    whole, sized = geometry(2, 3, turned()), Export((1.0, 1.0, 1.0))
    nii = Path("a.nii.gz")
    assert notes_of(nii, whole, Export()) == ()
    assert len(notes_of(nii, None, Export())) == 2
    assert len(notes_of(Path("a.dcm"), None, sized)) == 1
    assert len(notes_of(nii, whole, sized)) == 1
    assert len(notes_of(nii, replace(whole, positions_mm=None), Export())) == 1
    assert notes_of(Path("a.h5"), None, Export()) == ()
