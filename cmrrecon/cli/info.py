"""`cmrrecon info`: show what files contain."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli import inputs, options, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.settings import sampling_text

if TYPE_CHECKING:
    from cmrrecon.data import Scan, Series

EXAMPLE = examples(
    "cmrrecon info cine_sax.mat",
    "cmrrecon info data/ --json | jq 'select(.shape[2] < 10)'",
)


def info(
    files: options.Inputs,
    axes: options.Axes = None,
    dataset: options.Dataset = None,
    shard: options.Shard = None,
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Show what files contain, one line each: axes, sampling, origin and assumptions.

    Scans, masks, images, mapping times and weights (safetensors or torch) are recognised. Nothing
    in a torch file is executed. For a scan, the
    middle slice is read to find out how it was sampled.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        everything = inputs.find_jobs(files, _is_listed)
        jobs = inputs.jobs_of_shard(everything, shard, console)
        running.run_jobs(
            jobs, lambda job: _info_job(job, axes, dataset, console), console, fail_fast=fail_fast
        )


def _is_listed(path: Path) -> bool:
    """Return whether to list a file found in a folder; CSV files of scan settings are left out."""
    from cmrrecon import formats
    from cmrrecon.formats.names import is_info_name

    if is_info_name(path):
        return False
    return path.suffix.lower() in (*formats.SUFFIXES, ".csv") or formats.is_scan(path)


def _info_job(job: Job, axes: str | None, dataset: str | None, console: Console) -> None:
    """Print the line or the JSON record of a file."""
    from cmrrecon import formats

    with inputs.local_input(job) as path:
        if path.suffix in WEIGHTS:
            kind = "weights"
        else:
            kind = "scan" if axes or dataset else formats.kind(path)
        describe = {"mask": _mask, "images": _images, "times": _times, "weights": _weights}
        record, words = _scan(path, axes, dataset) if kind == "scan" else describe[kind](path)
        notes = record.pop("notes", ())

        console.result(
            {"status": "done", "input": job.name, "kind": kind, **record, "notes": list(notes)},
            f"{job.name}: {kind}, {', '.join(words)}",
        )
        for note in notes:
            console.say(note.replace(str(path), job.name))


# The suffixes of files with weights.
WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt")
# The record of a file for --json, and the parts of its line.
Description = tuple[dict[str, Any], list[str]]


def _scan(path: Path, axes: str | None, dataset: str | None) -> Description:
    """Describe k-space."""
    from cmrrecon import formats
    from cmrrecon.classical.faults import faults_of_scan
    from cmrrecon.formats.companions import named

    scan = formats.read(path, axes=axes, dataset=dataset)
    middle = scan.shape[1] // 2
    series = scan.series(middle)
    mask = series.mask
    facts = asdict(scan.acquisition)
    where = scan.geometry

    sampling: dict[str, Any] = {"pattern": facts["pattern"], "acceleration": facts["acceleration"]}
    sampling |= mask.described()
    record = {
        "shape": list(scan.shape),
        "axes": list(scan.axes),
        "matrix": scan.matrix,
        **facts,
        **sampling,
        **_calibration(series),
        "mask_kind": mask.KIND,
        "mask_source": mask.source.value,
        "full_by_rule": scan.full_by_rule,
        "geometry": None if where is None else asdict(where),
        "beside": named(scan),
    }
    faults = [fault.words for fault in faults_of_scan(scan, series, middle)]
    words = _scan_words(scan, record, sampling, complete=mask.complete)
    return {**record, "notes": (*inputs.notes_of(scan, mask), *series.warnings, *faults)}, words


def _scan_words(
    scan: "Scan", record: dict[str, Any], sampling: dict[str, Any], *, complete: bool
) -> list[str]:
    """Return the parts of the line about a scan."""
    from cmrrecon.cli.settings import geometry_words

    words = [f"{axis} {n}" for axis, n in zip(scan.axes, scan.shape, strict=True)]
    words += [] if scan.matrix is None else [f"matrix {scan.matrix[0]} x {scan.matrix[1]}"]
    words += ["fully sampled"] if complete else [sampling_text(**sampling)]
    if scan.full_by_rule and not complete:
        words.append("classed as fully sampled by its challenge")
    words += _calibration_words(record)
    words += [
        str(record[key])
        for key in ("modality", "year", "centre", "vendor", "subject")
        if record[key] is not None
    ]
    field, sequence = record["field_strength"], record["sequence"]
    words += ([] if field is None else [f"{field:.3g} T"]) + ([sequence] if sequence else [])
    words += [] if scan.geometry is None else geometry_words(scan.geometry, scan.image_shape)
    words += [f"with {', '.join(record['beside'])}"] if record["beside"] else []
    return words


def _calibration(series: "Series") -> dict[str, Any]:
    """Return the source and number of calibration lines, and the position of the k-space centre.

    `centre_of_kspace` is None if the centre is at (y // 2, x // 2).
    """
    from cmrrecon.data import CartesianMask
    from cmrrecon.operators.centre import recentred
    from cmrrecon.operators.sensitivity import Calibration

    series = recentred(series)
    mask = series.mask

    facts: dict[str, Any] = {"calibration_lines_found": None, "calibration_source": None}
    if isinstance(mask, CartesianMask) and not mask.complete:
        found = Calibration.of(mask, most=series.kspace.shape[2])
        facts["calibration_lines_found"] = found.lines
        facts["calibration_source"] = "time average" if found.averaged else "every frame"
    if series.calibration is not None:
        facts["calibration_lines_found"] = series.calibration.shape[1]
        facts["calibration_source"] = "separate lines"

    y, x = series.kspace.shape[2:]
    off = series.rolled
    return {**facts, "centre_of_kspace": [y // 2 - off[0], x // 2 - off[1]] if any(off) else None}


def _calibration_words(record: dict[str, Any]) -> list[str]:
    """Describe what `_calibration` found."""
    found, source = record["calibration_lines_found"], record["calibration_source"]
    where = {"time average": " in the time average", "separate lines": " acquired separately"}
    words = [] if found is None else [f"{found} calibration lines found{where.get(source, '')}"]
    centre = record["centre_of_kspace"]
    return (
        words if centre is None else [*words, f"centre of k-space at y {centre[0]}, x {centre[1]}"]
    )


def _weights(path: Path) -> Description:
    """Describe a file with weights: the network, and the licence if it is stated."""
    from cmrrecon.networks.checkpoints import weights
    from cmrrecon.networks.checkpoints.recognition import network_in

    metadata = weights.metadata_of(path) if path.suffix == ".safetensors" else {}
    name = metadata.get("network")
    if name is None:
        found, copy = network_in(path)
        words = [f"a state dict of another program: {found}", *([copy] if copy else [])]
        return {"network": None, "holds": found, "copy": copy or None}, words

    keys = ("weights_licence", "weights_use", "weights_notice")
    terms = {key: metadata[key] for key in keys if key in metadata}
    words = [f"network {name}"]
    return {"network": name, **terms}, words + [
        f"{key.replace('_', ' ')}: {text}" for key, text in terms.items()
    ]


def _mask(path: Path) -> Description:
    """Describe a sampling mask."""
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
    sampling |= mask.described()

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


def _images(path: Path) -> Description:
    """Describe images."""
    from cmrrecon import formats
    from cmrrecon.cli.settings import geometry_words
    from cmrrecon.formats.geometry import geometry_of

    images = formats.read_images(path)
    stamp = formats.read_provenance(path)
    where = geometry_of((stamp or {}).get("geometry"))
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
        words += [f"quantity: {stamp['quantity']}"] if "quantity" in stamp else []
        words += [] if where is None else geometry_words(where, (images.shape[2], images.shape[3]))
    elif path.suffix.lower() == ".npy":
        record["notes"] = [
            f"{path} is read as images; if it contains k-space, name its axes with --axes, for "
            "example --axes coil,y,x"
        ]
    return record, words


def _times(path: Path) -> Description:
    """Describe the times of a mapping series."""
    from cmrrecon import formats

    times = formats.read_times(path)
    first = times[:, 0].tolist()
    record = {"shape": list(times.shape), "axes": ["frame", "slice"], "times_ms": times.T.tolist()}
    return record, [
        f"frame {times.shape[0]}, slice {times.shape[1]}",
        f"first slice {' '.join(f'{t:g}' for t in first)} ms",
    ]
