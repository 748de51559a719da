"""
Low rank and total variation over time
======================================

Compare two priors over time, and see how each changes the heartbeat if the weight is too large.
"""

import matplotlib.pyplot as plt

import cmrrecon

made = cmrrecon.simulate(slices=1, coils=6, frames=16, y=80, x=96)
scan = cmrrecon.undersample(made.scan, "kt-gaussian", 8, acs=10)

# %%
# ``llr`` penalises the nuclear norm of small space-time blocks, which favours few temporal patterns
# in each neighbourhood. ``temporal-tv`` penalises the differences between neighbouring frames,
# which favours pixels that change in steps. Use each with a good weight, and with ten times this
# weight.
chosen = {}
for method, weight in (("llr", 0.03), ("llr", 0.3), ("temporal-tv", 0.01), ("temporal-tv", 0.1)):
    result = cmrrecon.reconstruct(scan, method, weight=weight, iterations=30)
    chosen[f"{method}\nweight {weight}"] = result
scores = {name: cmrrecon.evaluate(result, made).psnr for name, result in chosen.items()}

# %%
# Show a column through the heart over time: y downwards, frames to the right.
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
# Show a pixel at the edge of the ventricle. If the weight is too large, total variation keeps the
# value constant and then jumps, and low rank shrinks the whole curve.
row = int(truth.std(1).argmax())
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
axis.plot(truth[row], color="black", linewidth=2, label="truth")
for name, result in chosen.items():
    axis.plot(result.images[:, 0, row, column].abs(), label=name.replace("\n", ", "))
axis.set(xlabel="frame", ylabel="magnitude")
axis.legend(fontsize="small")
plt.show()
