"""
Sampling patterns
=================

Which lines of k-space each pattern measures, in one frame and over time.
"""

import matplotlib.pyplot as plt

import cmrrecon

# %%
# Undersample the same small scan with seven patterns and a nominal acceleration of 6. ``kt-``
# patterns measure different samples in each frame. ``kt-radial`` and ``poisson`` skip single
# samples, and the other patterns skip whole lines.
made = cmrrecon.simulate(slices=1, coils=1, frames=12, y=72, x=72)
patterns = ("uniform", "random", "gaussian", "kt-uniform", "kt-gaussian", "kt-radial", "poisson")
masks = {}
for pattern in patterns:
    masks[pattern] = cmrrecon.undersample(made.scan, pattern, 6, acs=12, seed=3).mask

# %%
# Top: the mask of frame 0 (y, x). Bottom: the samples at one readout position in every frame
# (y, time).
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
# Each kind of mask has its own class.
for pattern, mask in masks.items():
    print(f"{pattern:12} {type(mask).__name__:10} different samples in each frame: {mask.varies}")
