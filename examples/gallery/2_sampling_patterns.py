"""
Sampling patterns
=================

Which lines of k-space each pattern measures, in one frame and over time.
"""

import matplotlib.pyplot as plt

import cmrrecon

# %%
# The same small scan under seven patterns with the nominal acceleration 6. ``kt-`` patterns measure other samples in
# each frame; kt-radial and poisson leave out single samples, the others whole lines.
made = cmrrecon.simulate(slices=1, coils=1, frames=12, y=72, x=72)
patterns = ("uniform", "random", "gaussian", "kt-uniform", "kt-gaussian", "kt-radial", "poisson")
masks = {}
for pattern in patterns:
    masks[pattern] = cmrrecon.undersample(made.scan, pattern, 6, acs=12, seed=3).mask

# %%
# Above: frame 0, (y, x). Below: the samples in the middle of the readout, for every frame (y, time).
figure, axes = plt.subplots(2, len(masks), figsize=(13, 4.4), layout="constrained")
for column, (pattern, mask) in enumerate(masks.items()):
    samples = mask.samples.expand(12, 72, 72)
    above, below = axes[:, column]
    above.imshow(samples[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    above.set_title(f"{pattern}\neffective R {mask.effective_acceleration():.2f}", fontsize=9)
    middle = samples[:, :, 20].T
    below.imshow(middle, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    for axis in (above, below):
        axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("y")
axes[1, 0].set_ylabel("y")
axes[1, 0].set_xlabel("frame")
plt.show()

# %%
# Code that differs by kind asks for the class of the mask.
for pattern, mask in masks.items():
    print(f"{pattern:12} {type(mask).__name__:10} other samples in each frame: {mask.varies}")
