"""
Scores by protocol
==================

The same images have different scores under different protocols. Never state a score without one.
"""

import matplotlib.pyplot as plt

import cmrrecon

# %%
# Undersample a scan with three accelerations, and reconstruct each with the same method.
made = cmrrecon.simulate(slices=3, coils=6, frames=6, y=80, x=128)
results = {}
for R in (2, 4, 8):
    scan = cmrrecon.undersample(made.scan, "kt-gaussian", R, acs=12)
    results[R] = cmrrecon.reconstruct(scan, "temporal-tv", weight=0.01, iterations=20)

# %%
# ``fullfov`` scores whole images against the noise-free truth. The challenges score the centre of
# the middle slices, and each challenge has its own normalisation.
protocols = ("fullfov", "cmrxrecon2023", "cmrxrecon2024", "cmrxrecon2025")
scores = {
    protocol: [cmrrecon.evaluate(result, made, protocol=protocol) for result in results.values()]
    for protocol in protocols
}
print("PSNR dB / SSIM      " + "".join(f"R {R:<14}" for R in results))
for protocol, row in scores.items():
    print(f"{protocol:20}" + "".join(f"{s.psnr:5.2f} / {s.ssim:.3f}   " for s in row))

# %%
# All scores decrease with R, but the differences depend on the protocol.
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for protocol, row in scores.items():
    axes[0].plot(list(results), [score.psnr for score in row], "o-", label=protocol)
    axes[1].plot(list(results), [score.ssim for score in row], "o-", label=protocol)
axes[0].set(xlabel="nominal R", ylabel="PSNR in dB")
axes[1].set(xlabel="nominal R", ylabel="SSIM")
axes[1].legend()
plt.show()
