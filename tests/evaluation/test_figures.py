import io

import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon.evaluation.figures import comparison_figure, edge_similarity
from cmrrecon.losses.edge_aware import edge_aware_loss, edge_region


def beating(frames: int = 6, ny: int = 20, nx: int = 30) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
    radius = 0.4 + 0.1 * torch.sin(torch.linspace(0, 6, frames))
    return torch.sigmoid((radius[:, None, None] - (y**2 + x**2).sqrt()) * 10)


def pictures(figure):
    """Array of what each panel shows, row by row; None where there is no picture."""
    return [axis.images[0].get_array().data if axis.images else None for axis in figure.axes]


def texts(figure):
    return [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]


def test_a_figure_has_reference_and_methods_in_columns_and_three_rows():
    reference = beating()
    figure = comparison_figure(
        {"a": reference + 0.1, "b": reference + 0.01},
        reference,
        frame=2,
        titles={"a": "method a\nPSNR 20 dB (fullfov)"},
    )
    assert len(figure.axes) == 9
    assert [axis.get_title() for axis in figure.axes[:3]] == [
        "reference",
        "method a\nPSNR 20 dB (fullfov)",
        "b",
    ]
    assert [label.split()[0] for label in texts(figure)] == ["frame", "error", "y–t"]
    shown = pictures(figure)
    assert np.allclose(shown[0], reference[2])
    assert shown[3] is None
    assert shown[8].shape == (20, 6)


def test_every_image_is_scaled_to_the_reference_and_shares_its_window():
    reference = beating()
    figure = comparison_figure(
        {"scaled": 1e-3 * reference, "complex": 1j * reference.to(torch.complex64)},
        reference,
        frame=0,
    )
    shown = pictures(figure)
    assert np.allclose(shown[1], shown[0], atol=1e-6)
    assert np.allclose(shown[2], shown[0], atol=1e-6)
    assert np.allclose(shown[4], 0, atol=1e-4)
    windows = {axis.images[0].get_clim() for axis in figure.axes if axis.images}
    assert len(windows) == 1
    assert windows.pop() == pytest.approx((0, float(torch.quantile(reference[0], 0.995))), abs=1e-6)


def test_the_error_map_is_the_error_times_the_factor_that_is_printed():
    reference = beating()
    generator = torch.Generator().manual_seed(0)
    image = (reference + 0.02 * torch.randn(reference.shape, generator=generator)).abs()
    figure = comparison_figure({"noisy": image}, reference, frame=3)
    factor = int(texts(figure)[1].removeprefix("error × "))
    assert factor in (10, 20)
    scale = (image * reference).sum() / image.square().sum()
    assert np.allclose(
        pictures(figure)[3], factor * (scale * image - reference)[3].abs(), atol=1e-4
    )


def test_the_profile_runs_along_the_marked_line():
    reference = beating()
    image, _, profile = comparison_figure({}, reference, frame=0).axes
    assert list(image.lines[0].get_xdata()) == [15, 15]
    assert np.allclose(profile.images[0].get_array(), reference[:, :, 15].T)


def test_one_frame_has_no_profile_and_no_reference_has_no_error_map():
    images = beating()
    assert texts(comparison_figure({"a": images}, None, frame=1)) == ["frame 1", "y–t profile"]
    single = comparison_figure({"a": images[:1]}, images[:1], frame=0)
    assert [label.split()[0] for label in texts(single)] == ["frame", "error"]
    assert not single.axes[0].lines
    assert texts(comparison_figure({"a": images[:1]}, None, frame=0)) == ["frame 0"]


def test_the_edge_row_shows_every_image_inside_the_edge_region_of_the_reference_frame():
    reference = beating()
    images = {"flat": torch.full_like(reference, 0.5), "same": reference}
    figure = comparison_figure(images, reference, frame=2, edges=True)
    assert [label.split()[0] for label in texts(figure)] == ["frame", "error", "edge", "y–t"]
    region = edge_region(reference[2:3])[0].numpy()
    assert 0 < region.sum() < region.size
    shown = [axis.images[0].get_array() for axis in figure.axes[6:9]]
    assert all(np.array_equal(picture.mask, ~region) for picture in shown)
    assert np.allclose(shown[0].compressed(), reference[2].numpy()[region])
    assert np.ptp(shown[1].compressed()) == 0
    assert "Blue" in figure.get_supxlabel()
    assert "Blue" not in comparison_figure(images, reference, frame=2).get_supxlabel()


def test_edge_similarity_is_the_loss_of_scaled_magnitudes():
    reference = beating().to(torch.float64)
    blurred = torch.nn.functional.avg_pool2d(reference[None], 5, 1, padding=2)[0]
    scale = (blurred * reference).sum() / blurred.square().sum()
    assert edge_similarity(blurred, reference) == pytest.approx(
        1 - float(edge_aware_loss(scale * blurred, reference)), abs=1e-12
    )
    assert edge_similarity(blurred, reference) < 0.99
    assert edge_similarity(3j * reference, reference) == pytest.approx(1)
    assert edge_similarity(1e-9 * blurred, 1e9 * reference) == pytest.approx(
        edge_similarity(blurred, reference)
    )


def test_heading_and_long_titles_get_the_room_they_need():
    images, long = (
        {"a": beating()},
        "genre-cmr (a-folder-with-a-name-that-no-column-can-hold), 12.3 s\nPSNR 20 dB (fullfov)",
    )
    plain = comparison_figure(images, None, frame=0)
    figure = comparison_figure(
        images,
        None,
        frame=0,
        titles={"a": long},
        heading="kt-radial, nominal R 16, effective R 7.1",
    )
    assert figure.get_suptitle() == "kt-radial, nominal R 16, effective R 7.1"
    lines = figure.axes[0].get_title().split("\n")
    assert lines[-1] == "PSNR 20 dB (fullfov)"
    assert max(map(len, lines)) <= 38
    assert "".join(lines[:-1]).replace(" ", "") == long.split("\n")[0].replace(" ", "")
    assert figure.get_figheight() > plain.get_figheight()


def test_a_figure_can_be_saved_and_is_the_same_each_time():
    files = []
    for _ in range(2):
        file = io.BytesIO()
        comparison_figure({"a": beating()}, beating(), frame=0).savefig(file, format="png", dpi=40)
        files.append(file.getvalue())
    assert files[0].startswith(b"\x89PNG")
    assert files[0] == files[1]


def test_what_cannot_be_drawn_is_refused():
    images = beating()
    with refused("shape-mismatch") as error:
        comparison_figure({"a": images}, images[:5], frame=0)
    assert all(shape in str(error.value) for shape in ("(5, 20, 30)", "(6, 20, 30)"))
    with refused("shape-mismatch"):
        comparison_figure({}, None, frame=0)
    with refused("frame-missing"):
        comparison_figure({"a": images}, None, frame=6)
    with refused("option-needs"):
        comparison_figure({"a": images}, None, frame=0, edges=True)
