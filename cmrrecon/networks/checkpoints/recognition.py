"""Which network the weights of another program belong to, by the names of their tensors."""

from pathlib import Path

import safetensors

from cmrrecon.networks.checkpoints import layouts, torch_files, weights
from cmrrecon.networks.checkpoints.foreign import entries_of

TORCH = (".pt", ".pth", ".ckpt")


def network_in(path: Path) -> tuple[str, str]:
    """Describe the weights of another program without reading their values.

    Parameters
    ----------
    path : Path
        A file written by `torch.save`, by its suffix, or safetensors.

    Returns
    -------
    network : str
        The networks whose tensors have such names, or that it is none of ours.
    copy : str
        Which of several copies of the weights is there to load; empty if there is only one.

    Raises
    ------
    InputError
        If the file is damaged (`checkpoint-damaged`), contains no weights (`checkpoint-format`), or
        mixes names with and without a prefix (`checkpoint-mismatch`).
    """
    if path.suffix in TORCH:
        shapes, copy = torch_files.shapes_of(path)
        return layouts.title(entries_of(shapes)), copy

    weights.metadata_of(path)
    with safetensors.safe_open(path, framework="pt") as file:
        names: dict[str, tuple[int, ...]] = dict.fromkeys(file.keys(), ())
    return layouts.title(entries_of(names)), ""
