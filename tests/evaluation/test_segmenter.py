"""Segmentation with ONNX models that threshold the normalised image."""

import pytest
import torch

from cmrrecon.evaluation.segmenter import Segmenter
from cmrrecon.tools.errors import InputError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, FLOAT, INT64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def save(path, nodes, size=("y", "x"), batch="n", channels=1, output=FLOAT, constants=()):
    """Save a model with the input `image` and the output `out`."""
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info("image", FLOAT, (batch, channels, *size))],
        [helper.make_tensor_value_info("out", output, None)],
        [helper.make_tensor(name, kind, (), [value]) for name, kind, value in constants],
    )
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def scores(path, **shape):
    """The label is 1 where the normalised image is positive: scores (-image, image)."""
    nodes = [
        helper.make_node("Neg", ["image"], ["minus"]),
        helper.make_node("Concat", ["minus", "image"], ["out"], axis=1),
    ]
    return save(path, nodes, **shape)


@pytest.fixture
def images():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, 10, 12, dtype=torch.complex64, generator=draw)


def expected(images):
    magnitude = images.abs()
    return (magnitude > magnitude.mean((-2, -1), keepdim=True)).long()


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_scores_become_labels(tmp_path, images, batch):
    segment = Segmenter(scores(tmp_path / "a.onnx", batch=batch))
    assert torch.equal(segment(images, "images"), expected(images))


def test_labels_are_used_as_they_are(tmp_path, images):
    nodes = [
        helper.make_node("Greater", ["image", "zero"], ["positive"]),
        helper.make_node("Cast", ["positive"], ["out"], to=INT64),
    ]
    path = save(tmp_path / "a.onnx", nodes, output=INT64, constants=[("zero", FLOAT, 0.0)])
    assert torch.equal(Segmenter(path)(images, "images"), expected(images))


def test_a_fixed_matrix_is_centred(tmp_path, images):
    found = Segmenter(scores(tmp_path / "a.onnx", size=(8, 16)))(images, "images")
    assert torch.equal(found[..., 1:9, :], expected(images)[..., 1:9, :])
    assert not found[..., 0, :].any()
    assert not found[..., 9, :].any()


@pytest.mark.parametrize("fault", ["text", "channels", "two inputs"])
def test_other_files_are_no_models(tmp_path, fault):
    path = tmp_path / "a.onnx"
    if fault == "text":
        path.write_text("not a model")
    elif fault == "channels":
        scores(path, channels=3)
    else:
        scores(path)
        model = onnx.load(path)
        model.graph.input.append(helper.make_tensor_value_info("other", FLOAT, (1,)))
        onnx.save(model, path)
    with pytest.raises(InputError) as refused:
        Segmenter(path)
    assert refused.value.code == "model-format"


@pytest.mark.parametrize(
    ("node", "inputs"), [("Shape", ["image"]), ("Neg", ["image"]), ("Log", ["image"])]
)
def test_outputs_that_are_no_labels_are_refused(tmp_path, images, node, inputs):
    """A vector of sizes, numbers that are not whole, and NaN."""
    kind = INT64 if node == "Shape" else FLOAT
    path = save(tmp_path / "a.onnx", [helper.make_node(node, inputs, ["out"])], output=kind)
    with pytest.raises(InputError) as refused:
        Segmenter(path)(images, "images")
    assert refused.value.code == "model-output"


def test_weights_in_a_second_file_are_not_read(tmp_path, images, monkeypatch):
    """Not even from the working directory."""
    path, weights = tmp_path / "a.onnx", tmp_path / "weights.bin"
    save(path, [helper.make_node("Mul", ["image", "one"], ["out"])])
    model = onnx.load(path)
    tensor = helper.make_tensor("one", FLOAT, (1,), [1.0])
    tensor.raw_data = torch.ones(1).numpy().tobytes()
    tensor.ClearField("float_data")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin", 0, 4)
    tensor.ClearField("raw_data")
    model.graph.initializer.append(tensor)
    path.write_bytes(model.SerializeToString())
    weights.write_bytes(torch.ones(1).numpy().tobytes())
    monkeypatch.chdir(tmp_path)
    assert onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with pytest.raises(InputError) as refused:
        Segmenter(path)
    assert refused.value.code == "model-format"


def test_images_with_nan_are_refused(tmp_path, images):
    images[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError) as refused:
        Segmenter(scores(tmp_path / "a.onnx"))(images, "images")
    assert refused.value.code == "images-not-finite"
