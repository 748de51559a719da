"""
Coil maps and calibration
=========================

Look at coil sensitivity maps, and see how they depend on the number of calibration lines.
"""

import matplotlib.pyplot as plt

import cmrrecon

# %%
# Iterative methods estimate the coil sensitivity maps from the lines in the centre of k-space
# (ESPIRiT). The result contains the maps (coil, y, x) of each slice. Their root-sum-of-squares is
# one wherever there is signal.
made = cmrrecon.simulate(slices=1, coils=4, frames=4, y=80, x=128)
scan = cmrrecon.undersample(made.scan, "uniform", 3, acs=24)
result = cmrrecon.reconstruct(scan, "sense", weight=0.01, iterations=20)
maps = result.maps[0]
print(
    f"maps {tuple(maps.shape)}, "
    f"root-sum-of-squares at most {maps.abs().square().sum(0).sqrt().max():.3f}"
)

# %%
# Top: magnitude. Bottom: phase. The phase equals the phase of the true maps, except for a phase
# that is common to all coils and belongs to the image.
shown = slice(32, 96)
figure, axes = plt.subplots(2, 4, figsize=(8, 5), layout="constrained")
for coil, (above, below) in enumerate(axes.T):
    above.imshow(maps[coil, :, shown].abs(), cmap="gray", vmin=0, vmax=1)
    below.imshow(maps[coil, :, shown].angle(), cmap="twilight", vmin=-3.15, vmax=3.15)
    above.set_title(f"coil {coil}")
    above.set_axis_off()
    below.set_axis_off()
plt.show()

# %%
# With too few calibration lines, the maps are poor. Score the same undersampling with different
# numbers of calibration lines. More than a dozen lines improve the score only a little, but reduce
# the effective R.
numbers = (6, 8, 12, 16, 24, 32)
psnr, effective = [], []
for acs in numbers:
    scan = cmrrecon.undersample(made.scan, "uniform", 3, acs=acs)
    images = cmrrecon.reconstruct(scan, "sense", weight=0.01, iterations=20)
    psnr.append(cmrrecon.evaluate(images, made).psnr)
    effective.append(scan.mask.effective_acceleration())

figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
axis.plot(numbers, psnr, "o-")
for number, value, R in zip(numbers, psnr, effective, strict=True):
    axis.annotate(f"R {R:.1f}", (number, value), xytext=(0, 8), textcoords="offset points")
axis.margins(0.15)
axis.set(xlabel="calibration lines", ylabel="PSNR in dB (fullfov)", title="SENSE, every third line")
plt.show()
