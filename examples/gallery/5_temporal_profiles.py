"""
Low rank and total variation over time
======================================

Two priors of what moves, and what each does to the beat of a heart when the weight is too large.
"""

import matplotlib.pyplot as plt

import cmrrecon

made = cmrrecon.simulate(slices=1, coils=6, frames=16, y=80, x=96)
scan = cmrrecon.undersample(made.scan, "kt-gaussian", 8, acs=10)

# %%
# ``llr`` penalises the nuclear norm of small space-time blocks: few patterns over time in each neighbourhood. ``temporal-tv``
# penalises differences between neighbouring frames: pixels change in steps. Each with a good weight, and with ten times as much.
chosen = {}
for method, weight in (("llr", 0.03), ("llr", 0.3), ("temporal-tv", 0.01), ("temporal-tv", 0.1)):
    result = cmrrecon.reconstruct(scan, method, weight=weight, iterations=30)
    chosen[f"{method}\nweight {weight}"] = result
scores = {name: cmrrecon.evaluate(result, made).psnr for name, result in chosen.items()}

# %%
# A column through the heart, over time: y downwards, frames to the right.
column = int(made.image[:, 0].abs().std(0).sum(0).argmax())
truth = made.image[:, 0, :, column].abs().T
figure, axes = plt.subplots(1, 5, figsize=(11, 4.4), layout="constrained", sharey=True)
axes[0].imshow(truth, cmap="gray", vmin=0, vmax=truth.max(), aspect="auto")
axes[0].set(title="truth\n\n", ylabel="y", xlabel="frame")
for axis, (name, result) in zip(axes[1:], chosen.items(), strict=True):
    profile = result.images[:, 0, :, column].abs().T
    axis.imshow(profile, cmap="gray", vmin=0, vmax=truth.max(), aspect="auto")
    axis.set(title=f"{name}\n{scores[name]:.1f} dB", xlabel="frame")
plt.show()

# %%
# One pixel at the edge of the ventricle: total variation with too large a weight holds its value and then jumps, low rank
# shrinks the whole curve.
row = int(truth.std(1).argmax())
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
axis.plot(truth[row], color="black", linewidth=2, label="truth")
for name, result in chosen.items():
    axis.plot(result.images[:, 0, row, column].abs(), label=name.replace("\n", ", "))
axis.set(xlabel="frame", ylabel="magnitude")
axis.legend(fontsize="small")
plt.show()
