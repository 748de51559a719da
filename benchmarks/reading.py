"""Compare reading a v7.3 file with h5py and (if installed) mat73, in turn on the same file.

Usage: python benchmarks/reading.py [SLICES]

cmrrecon is measured with and without the extra `fast-io`. The file is a simulated cine (12 frames,
10 coils, 204 x 448), first with one compressed chunk per coil image, as cmrrecon writes it, then
with chunks of length two along every axis, as other writers choose. Each figure is a median; ratios
are relative to h5py. mat73 reads only whole files.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import cmrrecon
from cmrrecon.formats import hdf5_access, hdf5_chunks

ROUNDS = 5
DEFLATE = hdf5_chunks.deflate
Readers = dict[str, Callable[[], Any]]


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def measured(task: Callable[[], Any]) -> tuple[float, float, float]:
    """Return wall time and CPU time in s, and the MB read from files."""
    before, wall, cpu = bytes_read(), time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu, (bytes_read() - before) / 2**20


def compared(title: str, readers: Readers) -> None:
    runs = {label: [] for label in readers}
    for _ in range(ROUNDS):
        for label, task in readers.items():
            hdf5_chunks.deflate = None if label == "ours, zlib" else DEFLATE
            runs[label].append(measured(task))
    medians = {
        label: [statistics.median(column) for column in zip(*rows, strict=True)]
        for label, rows in runs.items()
    }
    print(f"\n{title:22} {'wall s':>8} {'CPU s':>8} {'MB read':>8} {'faster':>8} {'CPU':>6}")
    for label, (wall, cpu, mb) in medians.items():
        print(
            f"  {label:20} {wall:8.3f} {cpu:8.3f} {mb:8.0f} "
            f"{medians['h5py'][0] / wall:7.2f}x {medians['h5py'][1] / cpu:5.2f}x"
        )


def h5py_slices(path: Path, chosen: list[int]) -> None:
    with h5py.File(path) as file:
        for index in chosen:
            file["kspace"][:, index].view(np.complex64)


def h5py_whole(path: Path) -> None:
    with h5py.File(path) as file:
        file["kspace"][()].view(np.complex64)


def our_slices(path: Path, chosen: list[int]) -> None:
    scan = cmrrecon.read(path)
    for index in chosen:
        scan.read_slice(index)


def benchmark(path: Path, slices: int) -> None:
    ours = ["ours, libdeflate", "ours, zlib"] if DEFLATE is not None else ["ours, zlib"]
    whole: Readers = {"h5py": lambda: h5py_whole(path)}
    whole |= dict.fromkeys(ours, lambda: hdf5_access.variables(path)["kspace"].load(str(path)))
    try:
        import mat73

        whole["mat73"] = lambda: mat73.loadmat(path, only_include="kspace")
    except ImportError:
        pass
    compared("whole file", whole)
    for title, chosen in (("one slice", [slices // 2]), ("slice after slice", list(range(slices)))):
        readers: Readers = {"h5py": lambda chosen=chosen: h5py_slices(path, chosen)}
        compared(
            title, readers | dict.fromkeys(ours, lambda chosen=chosen: our_slices(path, chosen))
        )


def main() -> None:
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cine_sax.mat"
        command = [
            sys.executable,
            "-m",
            "cmrrecon",
            "simulate",
            "--slices",
            str(slices),
            "-o",
            str(path),
            "--quiet",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"{slices} slices, {path.stat().st_size / 2**20:.0f} MB; a chunk a coil image")
        benchmark(path, slices)
        with h5py.File(path, "r+") as file:
            values, attributes = file["kspace"][()], dict(file["kspace"].attrs)
            del file["kspace"]
            chunks = (2, 2, 2, values.shape[-2] // 2, values.shape[-1] // 2)
            file.create_dataset(
                "kspace", data=values, chunks=chunks, compression="gzip", compression_opts=3
            ).attrs.update(attributes)
            del values
        print(f"\nchunks of {chunks}")
        benchmark(path, slices)


if __name__ == "__main__":
    main()
