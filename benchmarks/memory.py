"""Peak memory of `cmrrecon reconstruct` for each method, beyond the interpreter and beyond the input series.

A simulated cine (12 frames, 10 coils, 204 x 448) with 1 and with 3 slices is reconstructed in a process of its own;
the peak is compared with a process that only reads one series. Usage: python benchmarks/memory.py [METHOD ...]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from cmrrecon import formats
from cmrrecon.reconstruct.methods import METHODS
from cmrrecon.sampling import undersample
from cmrrecon.simulation import simulate

MB = 1024 * 1024
READ_ONE = "import sys; from cmrrecon import formats; import sigpy.mri.app; formats.read(sys.argv[1]).series(0)"
PEAK = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
RECONSTRUCT = (
    "import sys; from cmrrecon.cli.app import app\n"
    "words = ['reconstruct', sys.argv[1], '-m', sys.argv[2], '-o', sys.argv[3], '--quiet', '--overwrite', *sys.argv[4:]]\n"
    "app(words, standalone_mode=False)"
)


def peak_mb(code: str, *words: object) -> int:
    done = subprocess.run([sys.executable, "-c", code + PEAK, *map(str, words)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    methods = sys.argv[1:] or list(METHODS)
    with tempfile.TemporaryDirectory() as folder:
        scans = {}
        for slices in (1, 3):
            scan = undersample(simulate("cine", slices=slices).scan, "kt-gaussian", 8, seed=1)
            scans[slices] = Path(folder) / f"cine{slices}.h5"
            formats.write_scan(scans[slices], scan)
        f, _, c, y, x = scan.shape
        series = f * c * y * x * 8 / MB
        read = peak_mb(READ_ONE, scans[1])
        print(f"series {series:.0f} MB; interpreter, libraries and one series read: {read} MB")
        print(f"{'method':18} {'1 slice':>9} {'3 slices':>9}   beyond the series read, MB; in series")
        for method in methods:
            few = ["--set", "iterations=3"] if "iterations" in METHODS[method].defaults() else []
            peaks = [peak_mb(RECONSTRUCT, path, method, Path(folder) / "out.h5", *few) - read for path in scans.values()]
            print(f"{method:18} {peaks[0]:9d} {peaks[1]:9d}   {peaks[1] / series:.2f}")


if __name__ == "__main__":
    main()
