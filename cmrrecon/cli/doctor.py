"""`cmrrecon doctor`: whether the installation works, in a form that fits into a bug report.

The report holds no paths, no names of users or hosts, and nothing from any scan.
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
# Extra -> its package, and what it enables.
OPTIONAL: Mapping[str, tuple[str, str]] = {
    "fast-io": ("deflate", "compressed files are read faster"),
    "nifti": ("nibabel", "NIfTI images and label maps"),
    "nufft": ("finufft", "fast reconstruction along trajectories"),
    "tensorboard": ("tensorboard", "train --tensorboard"),
    "twix": ("turbotwix", "Siemens raw data (.dat)"),
}
# Variables whose values are numbers of threads.
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "SLURM_CPUS_PER_TASK",
)
# Of other variables the report has names only: values may name people, projects and folders.
NAMED = ("CMRRECON_", "CUDA_", "OMP_", "MKL_", "SLURM_", "PBS_", "LSB_", "SGE_", "KMP_", "TORCH_")
# The self-test: a seeded phantom, and what the default method scores on it. Measured: 40.4 dB.
TEST_SCAN: dict[str, Any] = {"slices": 1, "frames": 6, "coils": 4, "y": 48, "x": 48, "seed": 0}
EXPECTED_PSNR = (39.0, 42.0)


def doctor(quiet: options.Quiet = False, json: options.Json = False) -> None:
    """Check the installation: versions, devices, memory, and a self-test.

    The self-test simulates a scan, undersamples it, reconstructs it with the default method on
    every device, and compares its score against the truth with the expected one; this takes a few
    seconds. The report holds no paths, no user names and no patient data, so it can be pasted
    into a bug report. The exit code is 1 if a check fails.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        record: dict[str, Any] = {"kind": "doctor", **_software()}
        missing = [name for name, version in record["packages"].items() if version is None]
        problems = [f"the package {name} is missing" for name in missing]
        if not missing:
            record |= {**_machine(), "self_test": [_tested(name) for name in _devices()]}
            problems += [test["problem"] for test in record["self_test"] if test["problem"]]

        record |= {"problems": problems, "status": "failed" if problems else "done"}
        console.result(record, "\n".join(_lines(record)))
        if problems:
            raise CmrreconError(
                "installation-broken",
                f"Checks failed: {'; '.join(problems)}",
                "A working installation passes all of them",
                "Install cmrrecon again, or report this with the lines above",
            )


def _software() -> dict[str, Any]:
    """The versions of the program, of Python and of the packages."""
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
    """Processors, memory, disks, devices and the variables that change how a run behaves."""
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
    """Free space in GB; None where it cannot be known."""
    try:
        return _gigabytes(shutil.disk_usage(folder).free)
    except OSError:
        return None


def _devices() -> list[str]:
    import torch

    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]


def _tested(device: str) -> dict[str, Any]:
    """Run the self-test on a device; `problem` is empty if it passes."""
    start = time.perf_counter()
    psnr, problem = None, ""
    try:
        psnr = round(_score(device), 2)
    except Exception as error:
        # The text of an error may hold paths, its kind and code do not.
        kind = error.code if isinstance(error, CmrreconError) else type(error).__name__
        problem = f"the self-test on {device} ended with {kind}"
    least, most = EXPECTED_PSNR
    if psnr is not None and not least <= psnr <= most:
        problem = f"the self-test on {device} scores {psnr} dB instead of {least:g} to {most:g} dB"

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
    """The PSNR in dB of a reconstruction that went through a file."""
    import cmrrecon

    simulated = cmrrecon.simulate(**TEST_SCAN)
    scan = cmrrecon.undersample(simulated.scan, "kt-gaussian", 4, seed=1)
    with tempfile.TemporaryDirectory(prefix="cmrrecon-") as folder:
        path = Path(folder) / "scan.h5"
        cmrrecon.write(path, scan)
        result = cmrrecon.reconstruct(path, device=device)
    return cmrrecon.evaluate(result, simulated).psnr


def _lines(record: Mapping[str, Any]) -> list[str]:
    """The report to read."""
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
    """The part of the report on the machine and the self-test."""
    gpus = ", ".join(f"{gpu['name']} with {gpu['memory_gb']} GB" for gpu in record["gpus"])
    disks = ", ".join(f"{name} {free} GB" for name, free in record["disk_free_gb"].items())
    threads = ", ".join(f"{k}={v}" for k, v in record["thread_variables"].items())

    return [
        f"processors: {record['cores']}, threads used: {record['threads']}; "
        f"memory {record['memory_gb']} GB",
        f"free disk space: {disks}",
        f"CUDA of PyTorch: {record['cuda'] or 'none, a build for the CPU'}; GPUs: {gpus or 'none'}",
        f"variables: {threads or 'no number of threads'}; "
        f"also set: {', '.join(record['other_variables']) or 'none'}",
        *(
            f"self-test on {test['device']}: {test['problem'] or 'passed'}, PSNR {test['psnr']} dB "
            f"({test['protocol']}), {test['seconds']} s"
            for test in record["self_test"]
        ),
    ]


def _verdict(record: Mapping[str, Any]) -> str:
    return "problems: " + "; ".join(record["problems"]) if record["problems"] else "all is well"
