"""The method table: every method on a semi-real cine, scored by protocol `fullfov` against the noise-free truth.

The cine (real magnitude pictures, measured or simulated coil maps, modelled k-space and noise) is made by the script
that TOOL names. Usage: python benchmarks/methods_semireal.py TOOL [--out FOLDER] [--pictures FILE] [METHOD ...]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from cmrrecon.reconstruct.methods import METHODS

SAMPLINGS = [("kt-gaussian", 8), ("uniform", 8), ("kt-radial", 16)]


def program(*words: object) -> list[dict[str, object]]:
    done = subprocess.run([sys.executable, "-m", "cmrrecon", *map(str, words), "--json", "--quiet"], capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", type=Path, help="make_semireal.py")
    parser.add_argument("--pictures", type=Path, help="a picture file for the tool, instead of its default subject")
    parser.add_argument("--out", type=Path, help="keep all files here")
    parser.add_argument("methods", nargs="*", default=list(METHODS))
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = words.out or Path(temporary)
        pictures = ["--pictures", str(words.pictures)] if words.pictures else []
        subprocess.run([sys.executable, words.tool, folder, *pictures], check=True, stdout=subprocess.DEVNULL)
        full = next(path for path in folder.rglob("*.mat") if "FullSample" in path.parts)
        truth = full.with_name(f"{full.stem}_truth.npz")
        print("| pattern | nominal R | effective R | method | PSNR dB | heart PSNR dB | SSIM | NMSE | s |")
        print("|---|---|---|---|---|---|---|---|---|")
        for pattern, acceleration in SAMPLINGS:
            scan = program("undersample", full, "-p", pattern, "-R", acceleration, "--seed", 1, "--out-dir", folder, "--overwrite")[0]
            for method in words.methods:
                target = folder / f"{pattern}-{acceleration}-{method}.h5"
                made = program("reconstruct", scan["output"], "-m", method, "-o", target, "--overwrite")[0]
                label = f"| {pattern} | {acceleration} | {scan['effective_acceleration']} | {method}"
                if made["status"] != "done":
                    print(f"{label} | refused | | | | |", flush=True)
                    continue
                s = program("evaluate", target, "--truth", truth, "--heart", "40,125,150,280")[0]
                scores = f"{s['psnr']:.2f} | {s['heart_psnr']:.2f} | {s['ssim']:.3f} | {s['nmse']:.4f}"
                print(f"{label} | {scores} | {made['seconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
