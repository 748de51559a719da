"""Every input that can go wrong: the right code, nothing half-written, the others unharmed."""

import os

import h5py
import numpy as np
import pytest

DTYPE = np.dtype([("real", "<f4"), ("imag", "<f4")])


def write(path, data, name="kspace"):
    with h5py.File(path, "w") as file:
        if np.iscomplexobj(data):
            stored = np.empty(data.shape, DTYPE)
            stored["real"], stored["imag"] = data.real, data.imag
            data = stored
        file.create_dataset(name, data=data)


def sample(shape=(2, 1, 2, 32, 40)):
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def truncated(path, full):
    path.write_bytes(full.read_bytes()[:20_000])


def empty(path, full):
    path.write_bytes(b"")


def text(path, full):
    path.write_text("subject,age\n" * 100)


def wrong_variable(path, full):
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(3)
        file["b"] = np.zeros(3)


def one_axis(path, full):
    write(path, sample((100,)))


def six_axes(path, full):
    write(path, sample((1, 2, 1, 2, 8, 8)))


def with_nan(path, full):
    data = sample()
    data[0, 0, 0, 3, 3] = np.nan
    write(path, data)


def with_infinity(path, full):
    data = sample()
    data[1, 0, 1, 3, 3] = np.inf
    write(path, data)


def zero_frame(path, full):
    data = sample()
    data[1] = 0
    write(path, data)


def a_mask(path, full):
    write(path, np.ones((32, 40)), "mask")


def images(path, full):
    write(path, np.ones((2, 1, 32, 40), np.float32), "img4ranking")


def four_d_flow(path, full):
    write(path, sample((4, 4, 4)), "kdata_full")


def a_folder(path, full):
    path.mkdir()


CASES = {
    truncated: ("file-damaged", "bad.mat"),
    empty: ("file-empty", "bad.mat"),
    text: ("file-format", "bad.mat"),
    wrong_variable: ("variable-missing", "a, b"),
    one_axis: ("kspace-axes", "(100,)"),
    six_axes: ("kspace-axes", "(1, 2, 1, 2, 8, 8)"),
    with_nan: ("kspace-not-finite", "frame 0"),
    with_infinity: ("kspace-not-finite", "frame 1"),
    zero_frame: ("kspace-empty", "frame 1"),
    a_mask: ("variable-kind", "mask"),
    images: ("variable-kind", "img4ranking"),
    four_d_flow: ("kspace-axes", "(4, 4, 4)"),
    a_folder: ("file-missing", "bad.mat"),
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_bad_input_is_reported_and_harms_nothing(run, full, undersampled, tmp_path, make):
    bad = tmp_path / "bad.mat"
    make(bad, full)
    code, found = CASES[make]
    alone = run("reconstruct", bad, "-m", "zero-filled", "-o", tmp_path / "out.h5", "--json")
    assert (alone.code, alone.codes) == (3, [code]), alone.err
    (record,) = alone.records
    assert record["error"]["code"] == code
    assert found in record["error"]["found"]
    assert record["error"]["expected"]
    assert record["error"]["remedy"]
    assert "Traceback" not in alone.err
    assert os.listdir(tmp_path) == ["bad.mat"]
    if make is a_folder:
        return
    batch = run(
        "reconstruct",
        bad,
        undersampled,
        "-m",
        "zero-filled",
        "--out-dir",
        tmp_path / "rec",
        "--json",
    )
    assert (batch.code, batch.codes) == (1, [code])
    assert [r["status"] for r in batch.records] == ["failed", "done"]
    assert [path.suffix for path in (tmp_path / "rec").rglob("*") if path.is_file()] == [".h5"]


def test_a_mask_that_disagrees_is_reported(run, full, undersampled, tmp_path):
    other = tmp_path / "other"
    run("undersample", full, "--pattern", "uniform", "-R", 4, "--out-dir", other)
    done = run(
        "reconstruct",
        undersampled,
        "--mask",
        other / "cine_sax_mask_Uniform4.mat",
        "-m",
        "zero-filled",
        "-o",
        tmp_path / "a.h5",
    )
    assert (done.code, done.codes) == (3, ["mask-disagrees"])
    assert os.listdir(tmp_path) == ["other"]


def test_a_mask_of_another_size_is_reported(run, undersampled, tmp_path):
    write(tmp_path / "mask.mat", np.eye(20), "mask")
    done = run(
        "reconstruct",
        undersampled,
        "--mask",
        tmp_path / "mask.mat",
        "-m",
        "zero-filled",
        "-o",
        tmp_path / "a.h5",
    )
    assert (done.code, done.codes) == (3, ["mask-shape"])
    assert os.listdir(tmp_path) == ["mask.mat"]


def test_data_given_as_a_mask_is_reported(run, undersampled, full, tmp_path):
    done = run(
        "reconstruct", undersampled, "--mask", full, "-m", "zero-filled", "-o", tmp_path / "a.h5"
    )
    assert (done.code, done.codes) == (3, ["variable-kind"])
    assert os.listdir(tmp_path) == []


def test_an_empty_slice_can_be_left_out(run, tmp_path):
    data = sample((2, 3, 2, 32, 40))
    data[:, 1] = 0
    write(tmp_path / "a.mat", data)
    assert run("reconstruct", tmp_path / "a.mat", "-m", "zero-filled").codes == ["kspace-empty"]
    done = run("reconstruct", tmp_path / "a.mat", "-m", "zero-filled", "--slices", "0,2", "--json")
    assert done.code == 0, done.err
    assert done.records[0]["shape"] == [2, 2, 32, 40]


@pytest.fixture
def zero_filled(run, undersampled, tmp_path, monkeypatch):
    """Runs zero-filled reconstruction with images of our own: `(series -> images) -> Program`."""

    def given(images):
        monkeypatch.setattr(
            "cmrrecon.methods.direct.DirectMethod._call",
            lambda self, series, options: images(series),
        )
        return run(
            "reconstruct", undersampled, "-m", "zero-filled", "-o", tmp_path / "a.h5", "--json"
        )

    return given


def test_a_numerical_failure_has_its_own_code(zero_filled, tmp_path):
    done = zero_filled(lambda series: series.kspace[:, 0].abs() * float("nan"))
    assert (done.code, done.codes) == (5, ["result-not-finite"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("exception", "exit_code", "code"),
    [(MemoryError(), 4, "memory-shortage"), (KeyError("secret"), 1, "fault")],
    ids=["memory", "fault"],
)
def test_what_fails_inside_has_its_own_code(zero_filled, tmp_path, exception, exit_code, code):
    def failing(series):
        raise exception

    done = zero_filled(failing)
    assert (done.code, done.codes) == (exit_code, [code])
    assert done.records[0]["error"]["code"] == code
    assert ("Traceback" in done.err) == (code == "fault")
    assert os.listdir(tmp_path) == []


def test_parts_of_different_shapes_are_named(run, tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["kspace_real"] = np.zeros((2, 1, 2, 32, 40))
        file["kspace_imag"] = np.zeros((2, 1, 2, 32, 41))
    done = run("info", tmp_path / "a.mat", "--json")
    assert (done.code, done.codes) == (3, ["shape-mismatch"])
    (record,) = done.records
    assert "(2, 1, 2, 32, 40)" in record["error"]["found"]
    assert "(2, 1, 2, 32, 41)" in record["error"]["found"]


@pytest.mark.parametrize(("name", "year"), [("mine.mat", None), ("cine_sax.mat", 2025)])
def test_the_name_of_a_variable_alone_gives_no_year(run, tmp_path, name, year):
    write(tmp_path / name, sample())
    (record,) = run("info", tmp_path / name, "--json").records
    assert record["year"] == year
