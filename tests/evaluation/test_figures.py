import io

import numpy as np
import pytest
import torch

from cmrrecon.errors import UsageError
from cmrrecon.evaluation.figures import comparison_figure


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
        {"a": reference + 0.1, "b": reference + 0.01}, reference, frame=2, titles={"a": "method a\nPSNR 20 dB (fullfov)"}
    )
    assert len(figure.axes) == 9
    assert [axis.get_title() for axis in figure.axes[:3]] == ["reference", "method a\nPSNR 20 dB (fullfov)", "b"]
    assert [label.split()[0] for label in texts(figure)] == ["frame", "error", "y–t"]
    shown = pictures(figure)
    assert np.allclose(shown[0], reference[2])
    assert shown[3] is None
    assert shown[8].shape == (20, 6)


def test_every_image_is_scaled_to_the_reference_and_shares_its_window():
    reference = beating()
    figure = comparison_figure({"scaled": 1e-3 * reference, "complex": 1j * reference.to(torch.complex64)}, reference, frame=0)
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
    assert np.allclose(pictures(figure)[3], factor * (scale * image - reference)[3].abs(), atol=1e-4)


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
    with pytest.raises(UsageError, match=r"\(5, 20, 30\).*\(6, 20, 30\).*frame, y, x"):
        comparison_figure({"a": images}, images[:5], frame=0)
    with pytest.raises(UsageError, match="At least one"):
        comparison_figure({}, None, frame=0)
    with pytest.raises(UsageError, match="frames 0 to 5"):
        comparison_figure({"a": images}, None, frame=6)
