"""`cmrrecon info`: what a file holds."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli import inputs, options, running
from cmrrecon.cli.console import Talk
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.settings import sampling_text

if TYPE_CHECKING:
    from cmrrecon.data import SamplingMask

EXAMPLE = (
    "Examples: cmrrecon info cine_sax.mat; cmrrecon info data/ --json | jq 'select(.shape[2] < 10)'"
)


def info(
    files: options.Inputs,
    axes: options.Axes = None,
    shard: options.Shard = None,
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Say what files hold, one line each: axes, sampling, where they come from, and what had to be assumed.

    Scans, masks, images and mapping times are recognised. Of a scan one slice is read, to look at its sampling.
    """
    talk = Talk(quiet=quiet, as_json=json)
    with running.command(talk):
        from cmrrecon import formats

        jobs = inputs.find_jobs(
            files, lambda path: path.suffix.lower() in (*formats.SUFFIXES, ".csv"), shard
        )
        running.run_jobs(jobs, lambda job: _info_job(job, axes, talk), talk, fail_fast=fail_fast)


def _info_job(job: Job, axes: str | None, talk: Talk) -> None:
    from cmrrecon import formats

    with inputs.local_input(job) as path:
        kind = "scan" if axes else formats.kind(path)
        describe = {"scan": _scan, "mask": _mask, "images": _images, "times": _times}[kind]
        record, words = describe(path, axes)
        notes = record.pop("notes", ())
        talk.result(
            {"status": "done", "input": job.name, "kind": kind, **record, "notes": list(notes)},
            f"{job.name}: {kind}, {', '.join(words)}",
        )
        for note in notes:
            talk.say(note.replace(str(path), job.name))


Description = tuple[dict[str, Any], list[str]]


def _scan(path: Path, axes: str | None) -> Description:
    from cmrrecon import formats
    from cmrrecon.classical.faults import faults_of_scan
    from cmrrecon.data import CartesianMask
    from cmrrecon.operators.sensitivity import calibration_region

    scan = formats.read(path, axes=axes)
    middle = scan.shape[1] // 2
    series = scan.series(middle)
    mask, full = series.mask, series.mask.complete
    found = None
    if isinstance(mask, CartesianMask) and not full:
        block, _ = calibration_region(mask, most=scan.shape[3])
        found = block.stop - block.start
    facts = asdict(scan.acquisition)
    sampling: dict[str, Any] = {"pattern": facts["pattern"], "acceleration": facts["acceleration"]}
    sampling["effective_acceleration"] = round(mask.effective_acceleration(), 2)
    record = {
        "shape": list(scan.shape),
        "axes": list(scan.axes),
        "matrix": scan.matrix,
        **facts,
        **sampling,
        "calibration_lines_found": found,
        **_known_mask(mask),
    }
    words = [f"{axis} {n}" for axis, n in zip(scan.axes, scan.shape, strict=True)]
    words += [] if scan.matrix is None else [f"matrix {scan.matrix[0]} x {scan.matrix[1]}"]
    words += ["fully sampled"] if full else [sampling_text(**sampling)]
    words += [] if found is None else [f"{found} calibration lines found"]
    words += [
        str(facts[key])
        for key in ("modality", "year", "centre", "vendor", "subject")
        if facts[key] is not None
    ]
    faults = [fault.words for fault in faults_of_scan(scan, series, middle)]
    return {**record, "notes": [*scan.notes, *faults]}, words


def _known_mask(mask: "SamplingMask") -> dict[str, Any]:
    """The kind of a mask, how it is known, and what of k-space it reaches."""
    from cmrrecon.data import CartesianMask

    facts: dict[str, Any] = {"mask_kind": mask.KIND, "mask_source": mask.source.value}
    if isinstance(mask, CartesianMask):
        facts["effective_acceleration_extent"] = round(mask.effective_acceleration("extent"), 2)
    return facts


def _mask(path: Path, axes: str | None) -> Description:
    from cmrrecon import formats
    from cmrrecon.evaluation.references import acquisition_of
    from cmrrecon.sampling import identify_seed

    mask = formats.read_mask(path)
    facts = acquisition_of(path, formats.read_provenance(path))
    seed = (
        identify_seed(mask.samples, acceleration=facts.acceleration)
        if facts.pattern == "kt-gaussian"
        else None
    )
    sampling: dict[str, Any] = {"pattern": facts.pattern, "acceleration": facts.acceleration}
    sampling["effective_acceleration"] = round(mask.effective_acceleration(), 2)
    words = [
        f"{axis} {n}" for axis, n in zip(("frame", "y", "x"), mask.samples.shape, strict=True)
    ] + [sampling_text(**sampling)]
    record = {
        "shape": list(mask.samples.shape),
        "axes": ["frame", "y", "x"],
        **sampling,
        "seed": seed,
    }
    return record, words + ([f"seed {seed}"] if seed is not None else [])


def _images(path: Path, axes: str | None) -> Description:
    from cmrrecon import formats

    images = formats.read_images(path)
    stamp = formats.read_provenance(path)
    kind = str(images.dtype).removeprefix("torch.")
    record = {
        "shape": list(images.shape),
        "axes": ["frame", "slice", "y", "x"],
        "dtype": kind,
        "provenance": stamp,
    }
    words = [
        f"{axis} {n}" for axis, n in zip(("frame", "slice", "y", "x"), images.shape, strict=True)
    ] + [kind]
    if stamp is not None:
        words.append(f"made by cmrrecon {stamp.get('cmrrecon')}")
        words += [f"method {stamp['config']['method']}"] if "method" in stamp["config"] else []
        words += [f"{stamp['quantity']} of the magnitudes"] if "quantity" in stamp else []
    elif path.suffix.lower() == ".npy":
        record["notes"] = [
            f"{path} is taken as images; if it is k-space, name its axes with --axes, for example --axes coil,y,x"
        ]
    return record, words


def _times(path: Path, axes: str | None) -> Description:
    from cmrrecon import formats

    times = formats.read_times(path)
    first = times[:, 0].tolist()
    record = {"shape": list(times.shape), "axes": ["frame", "slice"], "times_ms": times.T.tolist()}
    return record, [
        f"frame {times.shape[0]}, slice {times.shape[1]}",
        f"first slice {' '.join(f'{t:g}' for t in first)} ms",
    ]
