import io
import itertools

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from refusals import refused

from cmrrecon.evaluation.figures import Display, comparison_figure, edge_similarity
from cmrrecon.losses.edge_aware import edge_aware_loss, edge_region


def beating(frames: int = 6, ny: int = 20, nx: int = 30) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
    radius = 0.4 + 0.1 * torch.sin(torch.linspace(0, 6, frames))
    return torch.sigmoid((radius[:, None, None] - (y**2 + x**2).sqrt()) * 10)


def panels(figure):
    """The panels, row by row, without the colour bars."""
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def bars(figure):
    return [axis for axis in figure.axes if axis.get_label() == "<colorbar>"]


def pictures(figure):
    """Array of what each panel shows, row by row; None where there is no picture."""
    return [axis.images[0].get_array().data if axis.images else None for axis in panels(figure)]


def texts(figure):
    return [axis.get_ylabel() for axis in panels(figure) if axis.get_ylabel()]


def test_a_figure_has_reference_and_methods_in_columns_and_three_rows():
    reference = beating()
    figure = comparison_figure(
        {"a": reference + 0.1, "b": reference + 0.01},
        reference,
        frame=2,
        titles={"a": "method a\nPSNR 20 dB (fullfov)"},
    )
    assert len(panels(figure)) == 9
    assert [axis.get_title() for axis in panels(figure)[:3]] == [
        "reference",
        "method a\nPSNR 20 dB (fullfov)",
        "b",
    ]
    assert [label.split()[0] for label in texts(figure)] == ["frame", "error", "y–t"]
    shown = pictures(figure)
    assert np.allclose(shown[0], reference[2] / reference[2].max())
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
    windows = {axis.images[0].get_clim() for axis in panels(figure)[:3]}
    top = torch.quantile(reference[0], 0.995) / reference[0].max()
    assert len(windows) == 1
    assert windows.pop() == pytest.approx((0, float(top)), abs=1e-6)


def test_the_window_of_the_error_is_the_grey_window_over_the_factor_that_is_printed():
    reference = beating()
    generator = torch.Generator().manual_seed(0)
    image = (reference + 0.02 * torch.randn(reference.shape, generator=generator)).abs()
    figure = comparison_figure({"noisy": image}, reference, frame=3)
    factor = int(texts(figure)[1].removeprefix("error × "))
    assert factor in (10, 20)
    scale = (image * reference).sum() / image.square().sum()
    error = (scale * image - reference)[3].abs() / reference[3].max()
    assert np.allclose(pictures(figure)[3], error, atol=1e-6)
    image_top, error_top = (panels(figure)[i].images[0].get_clim()[1] for i in (0, 3))
    assert error_top == pytest.approx(image_top / factor)


def test_the_profile_runs_along_the_marked_line():
    reference = beating()
    image, _, profile = panels(comparison_figure({}, reference, frame=0))
    assert list(image.lines[0].get_xdata()) == [15, 15]
    peak = reference[0].max()
    assert np.allclose(profile.images[0].get_array(), reference[:, :, 15].T / peak)


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
    shown = [axis.images[0].get_array() for axis in panels(figure)[6:9]]
    assert all(np.array_equal(picture.mask, ~region) for picture in shown)
    peak = float(reference[2].max())
    assert np.allclose(shown[0].compressed(), reference[2].numpy()[region] / peak)
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
    images = {"a": beating()}
    long = "genre-cmr (a-folder-with-a-name-that-no-column-can-hold), 12.3 s\nPSNR 20 dB (fullfov)"
    plain = comparison_figure(images, None, frame=0)
    figure = comparison_figure(
        images,
        None,
        frame=0,
        titles={"a": long},
        heading="kt-radial, nominal R 16, effective R 7.1",
    )
    assert figure.get_suptitle() == "kt-radial, nominal R 16, effective R 7.1"
    lines = panels(figure)[0].get_title().split("\n")
    assert lines[-1] == "PSNR 20 dB (fullfov)"
    assert "".join(lines[:-1]).replace(" ", "") == long.split("\n")[0].replace(" ", "")
    assert figure.get_figheight() > plain.get_figheight()


def drawn(figure):
    """The figure after it was laid out."""
    figure.savefig(io.BytesIO(), format="png", dpi=72)
    return figure


@pytest.mark.parametrize("columns", [1, 3, 5])
@pytest.mark.parametrize("shape", [(20, 40), (40, 20)])
def test_all_type_is_readable_and_inside_the_page(columns, shape):
    reference = beating(6, *shape)
    names = [f"kt-unrolled {i}" for i in range(columns)]
    titles = {name: f"{name}, 12.3 s\nPSNR 31.42 dB\nSSIM 0.932" for name in names}
    figure = drawn(
        comparison_figure(
            dict.fromkeys(names, reference + 0.1),
            reference,
            frame=1,
            titles=titles,
            heading="kt-gaussian, nominal R 8, effective R 4.48",
            edges=True,
            display=Display(note="Scores: protocol fullfov."),
        )
    )
    assert figure.get_figwidth() <= 7.17
    page = figure.bbox
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert min(text.get_fontsize() for text in found) >= 7
    for text in found:
        box = text.get_window_extent()
        assert box.x0 >= -1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= page.y1 + 1, text
    heads = [axis.title.get_window_extent() for axis in panels(figure)[: columns + 1]]
    assert all(one.x1 <= other.x0 for one, other in itertools.pairwise(heads))
    assert all(axis.get_window_extent().width > 40 for axis in panels(figure))


def test_colour_bars_have_ticks_for_images_and_errors():
    reference = beating()
    figure = drawn(comparison_figure({"a": reference + 0.1}, reference, frame=0))
    assert [bar.get_ylabel() for bar in bars(figure)] == ["signal", "|error|"]
    assert all(len(bar.get_yticks()) >= 3 for bar in bars(figure))
    assert len(bars(comparison_figure({"a": reference}, None, frame=0))) == 1


def test_the_window_is_that_of_the_display():
    reference = beating()
    display = Display(window=(0.1, 0.6))
    figure = comparison_figure({"a": reference}, reference, frame=0, display=display)
    assert panels(figure)[0].images[0].get_clim() == (0.1, 0.6)
    assert panels(figure)[1].images[0].get_clim() == (0.1, 0.6)
    assert "0.1 to 0.6" in figure.get_supxlabel()


def test_all_rows_but_the_first_show_the_zoom_box():
    reference = beating()
    image = reference + 0.1 * torch.rand(reference.shape)
    display = Display(zoom=(4, 14, 6, 22))
    figure = comparison_figure({"a": image}, reference, frame=2, edges=True, display=display)
    assert [label.split()[0] for label in texts(figure)] == [
        "frame",
        "zoom",
        "error",
        "edge",
        "y–t",
    ]
    whole, _, zoom, _, blank, error, edge, *_, profile = pictures(figure)
    assert whole.shape == (20, 30)
    assert np.array_equal(zoom, whole[4:14, 6:22])
    assert blank is None
    assert error.shape == edge.shape == (10, 16)
    assert profile.shape == (10, 6)
    (box,) = panels(figure)[0].patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((5.5, 3.5), 16, 10)
    assert list(panels(figure)[2].lines[0].get_xdata()) == [8, 8]


def test_the_factor_of_the_error_is_chosen_inside_the_zoom_box():
    reference = beating(1)
    image = reference + 0.001
    image[:, 8:12, 12:18] += 0.2
    zoomed = comparison_figure(
        {"a": image}, reference, frame=0, display=Display(zoom=(8, 12, 12, 18))
    )
    whole = comparison_figure({"a": image}, reference, frame=0)
    factors = [
        next(int(text.split()[-1]) for text in texts(figure) if text.startswith("error"))
        for figure in (zoomed, whole)
    ]
    assert factors[0] < factors[1]


def test_pixels_have_the_aspect_of_the_display():
    figure = comparison_figure({"a": beating()}, None, frame=0, display=Display(aspect=1.5))
    assert panels(figure)[0].get_aspect() == 1.5
    drawn(figure)
    panel = panels(figure)[0].get_window_extent()
    assert panel.height / panel.width == pytest.approx(1.5 * 20 / 30, rel=0.02)


def test_time_is_in_milliseconds_where_it_is_known():
    times = (0.0, 40.0, 81.0, 120.0, 160.0, 200.0)
    display = Display(frame_times_ms=times)
    known = panels(comparison_figure({"a": beating()}, None, frame=3, display=display))[-1]
    unknown = panels(comparison_figure({"a": beating()}, None, frame=3))[-1]
    odd = Display(frame_times_ms=times[:3])
    other = panels(comparison_figure({"a": beating()}, None, frame=3, display=odd))[-1]
    assert (known.get_xlabel(), unknown.get_xlabel()) == ("time (ms)", "frame")
    assert other.get_xlabel() == "frame"
    assert [label.get_text() for label in known.get_xticklabels()] == ["0", "81", "200"]
    assert [label.get_text() for label in unknown.get_xticklabels()] == ["0", "2", "5"]
    assert list(known.lines[0].get_xdata()) == [3, 3]


def test_names_are_no_formulas():
    images = {"$x^$": beating()}
    assert panels(drawn(comparison_figure(images, None, frame=0)))[0].get_title() == "$x^$"


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
    for display, code in (
        (Display(window=(0.6, 0.1)), "window-range"),
        (Display(window=(0.5, 0.5)), "window-range"),
        (Display(window=(-0.1, 0.5)), "window-range"),
        (Display(window=(0, 1.5)), "window-range"),
        (Display(zoom=(0, 21, 0, 30)), "box-outside"),
        (Display(zoom=(5, 5, 0, 30)), "box-outside"),
        (Display(aspect=0), "option-value"),
        (Display(aspect=float("nan")), "option-value"),
    ):
        with refused(code):
            comparison_figure({"a": images}, None, frame=0, display=display)
