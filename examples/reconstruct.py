"""From a CMRxRecon file to images in Python: read, reconstruct slice after slice, write. Usage: reconstruct.py IN.mat OUT.h5"""

import sys

from cmrrecon import formats
from cmrrecon.data import effective_acceleration
from cmrrecon.methods.registry import METHODS


def main(source: str, target: str) -> None:
    """Reconstruct one file with SENSE."""
    scan = formats.read(source)
    images = []
    for index in range(scan.shape[1]):
        series = scan.series(index)  # k-space (frame, coil, y, x) and mask (frame|1, y, x|1)
        images.append(METHODS["sense"](series, {"iterations": 20}))  # (frame, y, x)
        print(f"slice {index}: effective R {effective_acceleration(series.mask):.2f}")
    formats.write_images(target, images)


if __name__ == "__main__":
    main(*sys.argv[1:])
