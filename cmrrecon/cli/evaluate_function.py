"""`cmrrecon evaluate --segmentation` and `--model`: cardiac function of one reconstruction."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.evaluate_function_plan import FunctionPlan
from cmrrecon.cli.inputs import Job
from cmrrecon.tools.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.data import Acquisition, Geometry
    from cmrrecon.evaluation.function import Voxel
    from cmrrecon.evaluation.reconstructions import Reconstruction
    from cmrrecon.evaluation.references import Reference

# Relative difference between voxel sizes from two sources that is reported.
TOLERANCE = 0.01


def score_function(
    job: Job,
    made: "Reconstruction",
    expected: "Tensor",
    reference: "Reference",
    geometry: "Geometry | None",
    plan: FunctionPlan,
) -> tuple[dict[str, Any], list[str]]:
    """Compare the cardiac function of a reconstruction with that of its reference.

    Parameters
    ----------
    job : Job
        The file of the reconstruction.
    made : Reconstruction
        Its images, with the facts about the scan.
    expected : Tensor of shape (frame, slice, y, x)
        The reference images of the same slices.
    reference : Reference
        Reference of the scan.
    geometry : Geometry or None
        Geometry of the images.
    plan : FunctionPlan
        Options for cardiac function.

    Returns
    -------
    function : dict
        The comparison for the record, see `compare_function`, and the label maps used.
    remarks : list of str
        What the user should know.

    Raises
    ------
    InputError
        If the images do not have the same shape (`shape-mismatch`), or label maps are missing, do
        not match or lack frames.
    """
    from cmrrecon.evaluation.function import Heart, compare_function

    facts, numbers = made.facts, made.slices
    assert facts is not None
    assert numbers is not None
    if made.images.shape != expected.shape:
        raise InputError(
            "shape-mismatch",
            f"The reconstruction has shape {tuple(made.images.shape)}, but the reference has shape "
            f"{tuple(expected.shape)} (frame, slice, y, x)",
            "Cardiac function needs whole images",
            "Use the reconstruction before the ranking crop",
        )

    paths: tuple[Path, ...] = ()
    if plan.segmenter is not None:
        labels = plan.segmenter(made.images, job.name)
        key = (reference.path, tuple(numbers))
        if key not in plan.kept:
            plan.kept[key] = plan.segmenter(expected, str(reference.path))
        truth = plan.kept[key]
    else:
        paths = (_map_of_reference(facts, reference, plan), _map_of_file(job, facts, plan))
        truth, labels = (_read(path, expected.shape, numbers, reference) for path in paths)

    voxel, remarks = _voxel(paths, geometry, job.name)
    if "lax" in facts.base:
        voxel = None
        remarks.append(f"{job.name}: volumes need a short-axis stack, so they are left out")
    elif len(numbers) < len(reference.slices):
        remarks.append(
            f"{job.name}: volumes are those of {len(numbers)} of {len(reference.slices)} slices"
        )

    compared = compare_function(
        Heart(truth, plan.numbers, voxel), Heart(labels, plan.numbers, voxel)
    )
    files = dict(zip(("reference", "reconstruction"), map(str, paths), strict=False))
    model = None if plan.segmenter is None else plan.segmenter.path.name
    return {**compared, "label_maps": files or None, "model": model}, remarks


def _map_of_reference(facts: "Acquisition", reference: "Reference", plan: FunctionPlan) -> Path:
    """Return the label map of the reference, named like its file or the base name."""
    names = {facts.base, reference.path.stem}
    return _single(plan, names, facts, Path(), f"the reference of {facts.base}")


def _map_of_file(job: Job, facts: "Acquisition", plan: FunctionPlan) -> Path:
    """Return the label map of a reconstruction, named like its file."""
    return _single(plan, {job.stem}, facts, job.folder, job.name)


def _single(
    plan: FunctionPlan, names: set[str], facts: "Acquisition", folder: Path, what: str
) -> Path:
    """Return the only label map with one of the names that does not belong to another scan.

    If several have the name, those in the folder of the same name count.
    """
    from cmrrecon.evaluation.references import disagreement
    from cmrrecon.formats.label_maps import bare_name, scan_of

    found = [
        path
        for path in plan.candidates
        if bare_name(path) in names and not _other_subject(disagreement(facts, scan_of(path)))
    ]
    parts = folder.parts
    if len(found) > 1 and parts:
        found = [path for path in found if path.parent.parts[-len(parts) :] == parts] or found
    if len(found) != 1:
        raise InputError(
            "labels-ambiguous" if found else "labels-missing",
            f"{len(found)} label maps in {plan.folder} match {what}",
            f"Exactly one must be named {' or '.join(sorted(names))}, with or without _label, in "
            "the folder of its subject",
            "Keep the names and folders of the images that were segmented",
        )
    return found[0]


def _other_subject(difference: str) -> bool:
    """Return whether a difference between two scans is more than that of their base names."""
    # The base name of a label map may contain the method.
    return bool(difference) and not difference.startswith("base ")


def _read(
    path: Path, shape: Sequence[int], numbers: Sequence[int], reference: "Reference"
) -> "Tensor":
    """Read the labels of all frames of these slices."""
    from cmrrecon.formats.label_maps import lay_over, read_label_map

    labels = lay_over(read_label_map(path), tuple(shape), numbers, reference.slices, str(path))
    if len(labels) != shape[0]:
        raise InputError(
            "labels-frames",
            f"The label map {path} has {len(labels)} frame, but the images have {shape[0]}",
            "Volumes over time need the labels of every frame",
            "Segment all frames",
        )
    return labels


def _voxel(
    paths: Sequence[Path], geometry: "Geometry | None", name: str
) -> tuple["Voxel | None", list[str]]:
    """Return the voxel size (y, x, slice) in mm, from the label maps or else the geometry."""
    from cmrrecon.formats.label_maps import voxel_of

    stated = [voxel_of(path) for path in paths]
    stated.append(None if geometry is None else geometry.voxel_mm)
    known = [voxel for voxel in stated if voxel is not None]
    if not known:
        return None, [f"{name}: the voxel size is unknown, so volumes and distances are left out"]

    first = known[0]
    differ = any(
        abs(one - other) > TOLERANCE * one
        for voxel in known[1:]
        for one, other in zip(first, voxel, strict=True)
    )
    sizes = " x ".join(f"{size:g}" for size in first)
    remark = f"{name}: the files state different voxel sizes; {sizes} mm (y, x, slice) is used"
    return first, [remark] if differ else []
