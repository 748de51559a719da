"""
Files and formats
=================

A scan goes out in several formats and comes back the same; images go out with their provenance, or as pictures.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import cmrrecon

folder = Path(tempfile.mkdtemp())
made = cmrrecon.simulate(slices=2, coils=4, frames=6, y=64, x=96)
scan = cmrrecon.undersample(made.scan, "kt-gaussian", 3, acs=12)

# %%
# The suffix says the format. ``.h5``, ``.npz`` and ``.mrd`` (ISMRMRD) hold the mask too. A ``.mat`` file has the layout of
# the challenge, where a mask is a file of its own: what is not zero then counts as measured.
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
# Images: ``.h5`` keeps the phase and how they were made, ``.mat`` is what a submission holds, ``.npy`` and ``.npz`` are for
# Python, ``.png`` and ``.gif`` to look at.
result = cmrrecon.reconstruct(folder / "cine_sax.h5", "llr", weight=0.02, iterations=20)
for suffix in (".h5", ".mat", ".npz", ".png", ".gif"):
    (path,) = result.save(folder / f"images{suffix}")
    print(f"{path.name:13} {path.stat().st_size / 1e3:7.1f} kB")
print({key: result.provenance[key] for key in ("cmrrecon", "effective_acceleration", "seed")})

# %%
# The picture that ``.png`` makes: frames side by side, slices below one another.
figure, axis = plt.subplots(figsize=(9, 3), layout="constrained")
axis.imshow(plt.imread(folder / "images.png"), cmap="gray")
axis.set_axis_off()
plt.show()
