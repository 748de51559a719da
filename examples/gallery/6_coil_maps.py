"""
Coil maps and calibration
=========================

Where the maps come from, and what becomes of them when there is little to calibrate on.
"""

import matplotlib.pyplot as plt

import cmrrecon

# %%
# Iterative methods estimate the sensitivity of each coil from the lines in the middle of k-space (ESPIRiT). The result
# carries the maps: one (coil, y, x) for each slice, with unit root-sum-of-squares where there is signal.
made = cmrrecon.simulate(slices=1, coils=4, frames=4, y=80, x=128)
scan = cmrrecon.undersample(made.scan, "uniform", 3, acs=24)
result = cmrrecon.reconstruct(scan, "sense", weight=0.01, iterations=20)
maps = result.maps[0]
print(
    f"maps {tuple(maps.shape)}, root-sum-of-squares at most {maps.abs().square().sum(0).sqrt().max():.3f}"
)

# %%
# Magnitude above, phase below. The phase is that of the true maps up to one common phase, which belongs to the image.
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
# With too few calibration lines the maps are poor: the same undersampling, scored for several numbers of them. From a
# dozen on there is little left to gain, and more lines cost effective R.
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
