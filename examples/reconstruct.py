"""From a CMRxRecon file to images in Python.

Usage: reconstruct.py IN.mat OUT.h5
"""

import sys

import cmrrecon


def main(source: str, target: str) -> None:
    """Reconstruct one file with SENSE and print how far to trust each slice."""
    scan = cmrrecon.read(source)
    result = cmrrecon.reconstruct(scan, "sense", iterations=20)
    for index, residual in zip(result.indices, result.residuals, strict=True):
        shown = "unknown" if residual is None else f"{residual:.2f}"
        print(f"slice {index}: residual of the data over their noise {shown}")
    print(f"effective R {result.provenance['effective_acceleration']:.2f}")
    result.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
