"""
Files and formats
=================

Write a scan in several formats and read it back, and save images with their provenance.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import cmrrecon

folder = Path(tempfile.mkdtemp())
made = cmrrecon.simulate(slices=2, coils=4, frames=6, y=64, x=96)
scan = cmrrecon.undersample(made.scan, "kt-gaussian", 3, acs=12)

# %%
# The suffix determines the format. ``.h5``, ``.npz`` and ``.mrd`` (ISMRMRD) files also contain the
# mask. ``.mat`` files have the layout of the challenge, in which the mask is a separate file.
# Without that file, all samples that are not zero count as measured.
for suffix in (".h5", ".npz", ".mrd", ".mat"):
    path = folder / f"cine_sax{suffix}"
    cmrrecon.write(path, scan)
    again = cmrrecon.read(path)
    series = again.series(0)
    same = series.kspace.equal(scan.series(0).kspace)
    print(
        f"{path.name:13} {path.stat().st_size / 1e3:7.0f} kB, shape {again.shape}, "
        f"same k-space: {same}, mask known from: {series.mask.source.value}"
    )

# %%
# For images, ``.h5`` keeps the phase and the provenance, ``.mat`` is the format of a submission,
# ``.npy`` and ``.npz`` are for Python, and ``.png`` and ``.gif`` are for viewing.
result = cmrrecon.reconstruct(folder / "cine_sax.h5", "llr", weight=0.02, iterations=20)
for suffix in (".h5", ".mat", ".npz", ".png", ".gif"):
    (path,) = result.save(folder / f"images{suffix}")
    print(f"{path.name:13} {path.stat().st_size / 1e3:7.1f} kB")
print({key: result.provenance[key] for key in ("cmrrecon", "effective_acceleration", "seed")})

# %%
# Show the ``.png`` file, with frames side by side and slices below one another.
figure, axis = plt.subplots(figsize=(9, 3), layout="constrained")
axis.imshow(plt.imread(folder / "images.png"), cmap="gray")
axis.set_axis_off()
plt.show()
