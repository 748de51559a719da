"""
Noise and whitening
===================

Two coils are noisier than the others. A noise scan measures this, and whitening makes use of it.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import torch

import cmrrecon

# %%
# Make the noise of two coils ten times as large as the noise of the others. A scan is a frozen
# dataclass with a function that reads its slices. Replace this function by one that adds noise,
# with the same seed at every read.
made = cmrrecon.simulate(slices=1, coils=6, frames=4, y=80, x=128, snr_db=35)
extra = torch.full((6,), made.sigma)
extra[:2] *= 10


def read_slice(index):
    """Return the k-space of a slice, with more noise in two coils."""
    kspace = made.scan.read_slice(index)
    generator = torch.Generator().manual_seed(index)
    noise = torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
    return kspace + extra[:, None, None] * noise


noisy = replace(made.scan, read_slice=read_slice)

# %%
# A noise scan would have measured this covariance of the coils.
variance = made.sigma**2 + extra**2
noise = cmrrecon.Noise(covariance=torch.diag(variance).to(torch.complex64), samples=10_000)

# %%
# With the noise scan, the coils are mixed so that their noise is equal and uncorrelated. Noisy
# coils then have less weight. With whitening turned off, all coils have the same weight.
scan = cmrrecon.undersample(noisy, "uniform", 2, acs=24)
settings = {"weight": 0.01, "iterations": 20}
plain = cmrrecon.reconstruct(scan, "sense", whiten=False, **settings)
white = cmrrecon.reconstruct(replace(scan, noise=noise), "sense", **settings)

shown = slice(32, 96)
truth = made.image[0, 0, :, shown].abs()
figure, axes = plt.subplots(1, 3, figsize=(9, 4), layout="constrained")
axes[0].imshow(truth, cmap="gray", vmin=0, vmax=truth.max())
axes[0].set_title("truth")
for axis, name, result in ((axes[1], "as measured", plain), (axes[2], "whitened", white)):
    axis.imshow(result.images[0, 0, :, shown].abs(), cmap="gray", vmin=0, vmax=truth.max())
    axis.set_title(f"{name}: {cmrrecon.evaluate(result, made).psnr:.1f} dB")
for axis in axes:
    axis.set_axis_off()
plt.show()
