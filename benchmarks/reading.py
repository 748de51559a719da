"""Reading one slice of a large v7.3 file against reading all: CPU time and bytes read. Usage: python benchmarks/reading.py [SLICES]

The file is a simulated cine (12 frames, 10 coils, 204 x 448) as the challenges store it: one compressed chunk a coil image.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cmrrecon import formats


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def measured(path: Path, slices: list[int]) -> tuple[float, float]:
    before, start = bytes_read(), time.process_time()
    scan = formats.read(path)
    for index in slices:
        scan.read_slice(index)
    return time.process_time() - start, (bytes_read() - before) / 2**20


def main() -> None:
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cine_sax.mat"
        command = [sys.executable, "-m", "cmrrecon", "simulate", "--slices", str(slices), "-o", str(path), "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"file of {slices} slices, {path.stat().st_size / 2**20:.0f} MB")
        for label, chosen in (("one slice", [slices // 2]), ("all slices", list(range(slices)))):
            seconds, mb = measured(path, chosen)
            print(f"{label:10} {seconds:6.2f} s CPU, {mb:6.0f} MB read")


if __name__ == "__main__":
    main()
