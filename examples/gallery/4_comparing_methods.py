"""
Comparing methods
=================

Reconstruct a scan with several methods, each with settings chosen for this scan, and score them.
"""

import matplotlib.pyplot as plt

import cmrrecon

made = cmrrecon.simulate(slices=1, coils=6, frames=8, y=80, x=128)
scan = cmrrecon.undersample(made.scan, "kt-gaussian", 6, acs=12)

# %%
# The methods range from zero filling to compressed sensing over time. Weight and iterations are not
# given, so ``reconstruct`` chooses those that best predict hold-out lines of the scan.
results = {
    method: cmrrecon.reconstruct(scan, method)
    for method in ("zero-filled", "sense", "l1-wavelet", "llr")
}
scores = {method: cmrrecon.evaluate(result, made) for method, result in results.items()}
for method, score in scores.items():
    print(f"{method:12} PSNR {score.psnr:5.2f} dB, SSIM {score.ssim:.3f}, NMSE {score.nmse:.4f}")

# %%
# Show the first frame, and its errors five times as bright.
shown = slice(32, 96)
truth = made.image[0, 0, :, shown].abs()
figure, axes = plt.subplots(
    2, len(results), figsize=(2.2 * len(results), 5.4), layout="constrained"
)
for (method, result), above, below in zip(results.items(), *axes, strict=True):
    picture = result.images[0, 0, :, shown].abs()
    above.imshow(picture, cmap="gray", vmin=0, vmax=truth.max())
    above.set_title(f"{method}\n{scores[method].psnr:.1f} dB", fontsize=10)
    below.imshow(5 * (picture - truth).abs(), cmap="gray", vmin=0, vmax=truth.max())
    above.set_axis_off()
    below.set_axis_off()
plt.show()
