"""Segments images with an ONNX model of the user, run by onnxruntime.

No model is shipped. An ONNX file is data: it names operations of onnxruntime, and no library of
custom operations is loaded. Inputs and outputs are checked before and after every run.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.formats.packages import optional
from cmrrecon.operators.fourier import resized
from cmrrecon.tools.errors import InputError
from cmrrecon.tools.files import first_bytes, input_error

MOST_BYTES = 2**31  # the limit of the format
LARGEST_LABEL = 255
CONTRACT = (
    "A model has one float32 input (batch, 1, y, x), and its first output is either scores "
    "(batch, label, y, x) or labels (batch, y, x)"
)


class Segmenter:
    """A segmentation model.

    Each image is normalised to mean 0 and standard deviation 1. If the model has a fixed matrix,
    images are cut or padded with zeros around their centre, and the labels are put back.

    Parameters
    ----------
    path : Path
        The ONNX file.

    Raises
    ------
    InputError
        If the file cannot be read or is no model of this kind (`model-format`).
    UsageError
        If onnxruntime is not installed (`package-missing`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = _content(path)
        runtime = optional("onnxruntime", "segmentation", f"{path} is an ONNX model")
        settings = runtime.SessionOptions()
        settings.log_severity_level = 4
        settings.intra_op_num_threads = torch.get_num_threads()

        try:
            self.session = runtime.InferenceSession(
                content, settings, providers=["CPUExecutionProvider"]
            )
        # onnxruntime has exception classes of its own, derived from Exception or RuntimeError.
        except Exception as error:
            raise self._refused("is not a model that onnxruntime can load") from error
        self._check_input()

    def _check_input(self) -> None:
        """Refuse a model with other inputs; remember its matrix."""
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            raise self._refused("has other inputs")
        batch, channels, *size = inputs[0].shape
        if isinstance(channels, int) and channels != 1:
            raise self._refused(f"needs {channels} channels")

        self.name = inputs[0].name
        self.batch = batch if isinstance(batch, int) else None
        self.size = [length if isinstance(length, int) else None for length in size]

    def __call__(self, images: Tensor, name: str) -> Tensor:
        """Return the labels of images.

        Parameters
        ----------
        images : Tensor of shape (frame, slice, y, x)
            Complex or real.
        name : str
            Name of the images in messages.

        Returns
        -------
        Tensor of shape (frame, slice, y, x), int64
            The labels.

        Raises
        ------
        InputError
            If images contain NaN or infinity (`images-not-finite`), or the model fails or gives no
            labels (`model-output`).
        """
        magnitude = images.abs().float().cpu()
        if not bool(magnitude.isfinite().all()):
            raise InputError(
                "images-not-finite",
                f"{name} contains NaN or infinity",
                "A model can only segment images with finite values",
                "Reconstruct the scan again",
            )

        flat = magnitude.flatten(0, 1)[:, None]
        flat = flat - flat.mean((-2, -1), keepdim=True)
        flat = flat / flat.std((-2, -1), correction=0, keepdim=True).clamp_min(1e-12)
        fitted = flat
        for axis, length in zip((-2, -1), self.size, strict=True):
            fitted = fitted if length is None else resized(fitted, axis, length)

        parts = torch.split(fitted, self.batch or len(fitted))
        labels = torch.cat([self._labels(part) for part in parts])
        for axis, length in zip((-2, -1), flat.shape[-2:], strict=True):
            labels = resized(labels, axis, length)
        return labels.reshape(images.shape)

    def _labels(self, images: Tensor) -> Tensor:
        """Run the model on images (batch, 1, y, x), and return labels (batch, y, x)."""
        short = (self.batch or len(images)) - len(images)
        padded = torch.cat([images, images[:1].expand(short, -1, -1, -1)]) if short else images
        try:
            output = self.session.run(None, {self.name: padded.contiguous().numpy()})[0]
        except Exception as error:
            raise self._failed("failed on these images") from error
        return torch.from_numpy(self._checked(output, padded.shape))[: len(images)]

    def _checked(self, output: Any, shape: torch.Size) -> NDArray[np.int64]:
        """Return the output of the model as labels (batch, y, x)."""
        batch, _, y, x = shape
        if not isinstance(output, np.ndarray) or output.dtype.kind not in "iuf":
            raise self._failed("gave no numbers")
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise self._failed("gave NaN or infinity")

        if output.ndim == 4 and output.shape[1] > 1 and output.dtype.kind == "f":
            labels = output.argmax(1)
        else:
            labels = output[:, 0] if output.ndim == 4 and output.shape[1] == 1 else output
        if labels.shape != (batch, y, x):
            raise self._failed(f"gave an array of shape {output.shape}")
        if (labels < 0).any() or (labels > LARGEST_LABEL).any() or (labels % 1 != 0).any():
            raise self._failed("gave numbers that are not labels")
        return np.asarray(labels, np.int64)

    def _refused(self, found: str) -> InputError:
        return InputError(
            "model-format", f"{self.path} {found}", CONTRACT, "Export the model in this form"
        )

    def _failed(self, found: str) -> InputError:
        return InputError(
            "model-output", f"{self.path} {found}", CONTRACT, "Export the model in this form"
        )


def _content(path: Path) -> bytes:
    """Read the whole file."""
    first_bytes(path, 1)
    try:
        if path.stat().st_size <= MOST_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise input_error(path, error) from error
    raise InputError(
        "model-format", f"{path} is larger than 2 GiB", CONTRACT, "Export the model in this form"
    )
