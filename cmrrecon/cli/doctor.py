"""`cmrrecon doctor`: check the installation and print a report that can go into a bug report.

The report contains no paths, no user or host names, and no scan data.
"""

import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmrrecon import __version__
from cmrrecon.cli import choices, options, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.tools.errors import CmrreconError
from cmrrecon.tools.scratch import scratch_folder

EXAMPLE = examples("cmrrecon doctor", "cmrrecon doctor --json > doctor.json")
REQUIRED = (
    "torch",
    "safetensors",
    "typer",
    "rich",
    "h5py",
    "numpy",
    "scipy",
    "sigpy",
    "matplotlib",
    "pillow",
)
# Extra -> package and what it enables.
OPTIONAL: Mapping[str, tuple[str, str]] = {
    "dicom": ("pydicom", "images as DICOM"),
    "fast-io": ("deflate", "faster reading of compressed files"),
    "nifti": ("nibabel", "NIfTI images and label maps"),
    "nufft": ("finufft", "fast reconstruction of non-Cartesian scans"),
    "segmentation": ("onnxruntime", "heart function with your own network"),
    "tensorboard": ("tensorboard", "train --tensorboard"),
    "twix": ("turbotwix", "Siemens raw data (.dat)"),
    "yaml": ("pyyaml", "configurations published with weights"),
}
# Variables that hold a number of threads.
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "SLURM_CPUS_PER_TASK",
)
# For other variables only the names are reported, because values may identify people or projects.
NAMED = ("CMRRECON_", "CUDA_", "OMP_", "MKL_", "SLURM_", "PBS_", "LSB_", "SGE_", "KMP_", "TORCH_")
# Self-test: a seeded phantom, and the expected PSNR of the default method. Measured: 40.4 dB.
TEST_SCAN: dict[str, Any] = {"slices": 1, "frames": 6, "coils": 4, "y": 48, "x": 48, "seed": 0}
EXPECTED_PSNR = (39.0, 42.0)


def doctor(quiet: options.Quiet = False, json: options.Json = False) -> None:
    """Check the installation: versions, devices, memory, and a self-test.

    The self-test simulates a scan, undersamples it, reconstructs it with the default method on
    every device, and checks that its PSNR is in the expected range. This takes a few seconds. The
    report contains no paths, no user names and no patient data, so it can be pasted into a bug
    report. The exit code is 1 if a check fails.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        record: dict[str, Any] = {"kind": "doctor", **_software()}
        missing = [name for name, version in record["packages"].items() if version is None]
        problems = [f"the package {name} is missing" for name in missing]
        if not missing:
            record |= {**_machine(), "self_test": [_self_test(name) for name in _devices()]}
            problems += [test["problem"] for test in record["self_test"] if test["problem"]]

        record |= {"problems": problems, "status": "failed" if problems else "done"}
        console.result(record, "\n".join(_report_lines(record)))
        if problems:
            raise CmrreconError(
                "installation-broken",
                f"Checks failed: {'; '.join(problems)}",
                "A working installation passes all checks",
                "Reinstall cmrrecon, or report this with the lines above",
            )


def _software() -> dict[str, Any]:
    """Return the versions of the program, Python and the packages."""
    return {
        "cmrrecon": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in REQUIRED},
        "extras": {
            extra: {"package": name, "version": _version(name), "enables": use}
            for extra, (name, use) in OPTIONAL.items()
        },
        "recipes": len(choices.recipes()),
        "weights": choices.installed_weights(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    """Return processors, memory, disks, GPUs and the environment variables that affect a run."""
    import torch

    from cmrrecon.tools.machine import available_cores, machine_memory

    count = torch.cuda.device_count()
    gpus = [torch.cuda.get_device_properties(index) for index in range(count)]

    return {
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": _gigabytes(machine_memory()),
        "disk_free_gb": {
            "working folder": _free(Path()),
            "temporary folder": _free(Path(tempfile.gettempdir())),
        },
        "cuda": torch.version.cuda,
        "gpus": [{"name": gpu.name, "memory_gb": _gigabytes(gpu.total_memory)} for gpu in gpus],
        "thread_variables": {
            name: value
            for name in THREADS
            if (value := os.environ.get(name, "")).replace(",", "").isdigit()
        },
        "other_variables": sorted(
            name for name in os.environ if name.startswith(NAMED) and name not in THREADS
        ),
    }


def _gigabytes(nbytes: int) -> float:
    return round(nbytes / 1e9, 1)


def _free(folder: Path) -> float | None:
    """Return the free space in GB; None if it cannot be determined."""
    try:
        return _gigabytes(shutil.disk_usage(folder).free)
    except OSError:
        return None


def _devices() -> list[str]:
    import torch

    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]


def _self_test(device: str) -> dict[str, Any]:
    """Run the self-test on a device; `problem` is empty if it passes."""
    start = time.perf_counter()
    psnr, problem = None, ""
    try:
        psnr = round(_score(device), 2)
    except Exception as error:
        # The text of an error may contain paths; its type and code do not.
        kind = error.code if isinstance(error, CmrreconError) else type(error).__name__
        problem = f"the self-test on {device} failed with {kind}"
    low, high = EXPECTED_PSNR
    if psnr is not None and not low <= psnr <= high:
        problem = f"the self-test on {device} gave {psnr} dB instead of {low:g} to {high:g} dB"

    seconds = round(time.perf_counter() - start, 1)
    return {
        "device": device,
        "psnr": psnr,
        "protocol": "fullfov",
        "expected_psnr": list(EXPECTED_PSNR),
        "seconds": seconds,
        "problem": problem,
    }


def _score(device: str) -> float:
    """Return the PSNR in dB of a reconstruction from a file."""
    import cmrrecon

    simulated = cmrrecon.simulate(**TEST_SCAN)
    scan = cmrrecon.undersample(simulated.scan, "kt-gaussian", 4, seed=1)
    with scratch_folder() as folder:
        path = folder / "scan.h5"
        cmrrecon.write(path, scan)
        result = cmrrecon.reconstruct(path, device=device)
    return cmrrecon.evaluate(result, simulated).psnr


def _report_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the report as lines of text."""
    lines = [
        f"cmrrecon {record['cmrrecon']}, Python {record['python']}, {record['system']}",
        "packages: " + ", ".join(f"{k} {v or 'MISSING'}" for k, v in record["packages"].items()),
    ]
    for extra, facts in record["extras"].items():
        state = f"{facts['package']} {facts['version']}" if facts["version"] else "not installed"
        lines.append(f"extra {extra}: {state} ({facts['enables']})")
    weights = ", ".join(record["weights"]) or "none"
    lines.append(f"recipes: {record['recipes']}; installed weights: {weights}")
    return [*lines, *(_machine_lines(record) if "cores" in record else []), _verdict(record)]


def _machine_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the lines about the machine and the self-test."""
    gpus = ", ".join(f"{gpu['name']} with {gpu['memory_gb']} GB" for gpu in record["gpus"])
    disks = ", ".join(f"{name} {free} GB" for name, free in record["disk_free_gb"].items())
    threads = ", ".join(f"{k}={v}" for k, v in record["thread_variables"].items())

    return [
        f"processors: {record['cores']}, threads used: {record['threads']}; "
        f"memory {record['memory_gb']} GB",
        f"free disk space: {disks}",
        f"PyTorch CUDA version: {record['cuda'] or 'none (CPU build)'}; GPUs: {gpus or 'none'}",
        f"thread variables: {threads or 'none'}; "
        f"other variables: {', '.join(record['other_variables']) or 'none'}",
        *(
            f"self-test on {test['device']}: {test['problem'] or 'passed'}, PSNR {test['psnr']} dB "
            f"({test['protocol']}), {test['seconds']} s"
            for test in record["self_test"]
        ),
    ]


def _verdict(record: Mapping[str, Any]) -> str:
    return (
        "problems: " + "; ".join(record["problems"]) if record["problems"] else "no problems found"
    )
