"""
Nominal and effective acceleration
==================================

Calibration lines cost scan time, too. The effective acceleration depends on the matrix size.
"""

import matplotlib.pyplot as plt

import cmrrecon

# %%
# The effective R is the number of all samples divided by the number of measured samples. With 20
# calibration lines, as in the 2025 challenge, it stays low for a small matrix, whatever the nominal
# R is.
nominal = (2, 4, 8, 12, 16, 24)
effective = {}
for y in (96, 160, 246):
    scan = cmrrecon.simulate(slices=1, coils=1, frames=4, y=y, x=64).scan
    masks = [cmrrecon.undersample(scan, "uniform", R, acs=20).mask for R in nominal]
    effective[y] = [mask.effective_acceleration() for mask in masks]

figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
axis.plot(nominal, nominal, color="0.7", label="without calibration lines")
for y, values in effective.items():
    axis.plot(nominal, values, "o-", label=f"{y} phase encodes")
    axis.axhline(y / 20, color="0.85", zorder=0, linewidth=0.8)
axis.set(xlabel="nominal R", ylabel="effective R", xlim=(0, 25), ylim=(0, 13))
axis.set_title("Grey lines: the limit (number of lines / 20)")
axis.legend()
plt.show()

# %%
# Always state the effective R with a score: for the same nominal R, it can differ by a factor of
# two.
for y, values in effective.items():
    print(
        f"{y} phase encodes: "
        + ", ".join(f"{R} -> {v:.2f}" for R, v in zip(nominal, values, strict=True))
    )
