"""
First reconstruction
====================

Simulate a beating heart, undersample its k-space, and reconstruct it with the default method.
"""

import matplotlib.pyplot as plt

import cmrrecon

# %%
# Simulate a cine with six frames and six coils. ``scan`` contains what a scanner would have
# measured, and ``image`` the noise-free truth. The axes are (frame, slice, coil, y, x). The readout
# x covers twice the field of view.
made = cmrrecon.simulate(slices=1, coils=6, frames=6, y=80, x=128)

# %%
# Keep a quarter of the lines outside the centre, with different lines in each frame. The effective
# acceleration includes the calibration lines in the centre, the nominal acceleration does not.
scan = cmrrecon.undersample(made.scan, "kt-gaussian", 4, acs=12)
effective = scan.mask.effective_acceleration()
print(f"nominal R 4, effective R {effective:.2f}")

# %%
# If you name no method, ``reconstruct`` chooses the method, weight and iterations for this scan.
result = cmrrecon.reconstruct(scan)
scores = cmrrecon.evaluate(result, made)
print(f"{result.decision.method}, PSNR {scores.psnr:.1f} dB by the protocol {scores.protocol}")

# %%
# Compare with the zero-filled image. The errors are shown five times as bright.
zero_filled = cmrrecon.reconstruct(scan, "zero-filled")
shown = slice(32, 96)  # the middle of the readout, without its oversampling
truth = made.image[0, 0, :, shown].abs()
figure, axes = plt.subplots(2, 3, figsize=(8, 6.2), layout="constrained")
pictures = {"truth": truth}
for name, images in (("zero-filled", zero_filled.images), ("default", result.images)):
    pictures[name] = images[0, 0, :, shown].abs()
for (name, picture), above, below in zip(pictures.items(), *axes, strict=True):
    above.imshow(picture, cmap="gray", vmin=0, vmax=truth.max())
    above.set_title(name)
    below.imshow(5 * (picture - truth).abs(), cmap="gray", vmin=0, vmax=truth.max())
axes[1, 0].clear()
axes[1, 0].text(1, 0.5, "error x 5", ha="right", fontsize=12)
for axis in axes.flat:
    axis.set_axis_off()
plt.show()
