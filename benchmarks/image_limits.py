"""Measure what images may not do, on simulated scans: docs/image-limits.md.

Usage: python benchmarks/image_limits.py [--only PART ...] [--scans 20]

Parts: repeats (the same command twice, and with another number of threads), symmetry (scale, phase,
order of coils, time, flips), samples (nested masks), lesions (small, static or in one frame),
invented (noise alone, and scans without a lesion), residual (scans of known noise). A run takes
about 20 minutes on one core. All scans and places come from seeds.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import cmrrecon
from cmrrecon import Result, Scan
from cmrrecon.operators.fourier import fft2c

SIZE = {"slices": 1, "coils": 6, "frames": 8, "y": 96, "x": 160}
METHODS = ("zero-filled", "sense", "llr", "kt-wavelet", "kt-unrolled", "auto")
PATTERNS = ("kt-gaussian", "uniform", "kt-radial")
PLACES, CONTRASTS, SIDES = 10, (0.1, 0.2, 0.4), (3, 4, 5)
LEAST_SIGNAL = 0.15


@dataclass(frozen=True)
class Made:
    """A simulated cine, fully sampled, with its truth (frame, y, x) and maps (coil, y, x)."""

    scan: Scan
    truth: Tensor
    maps: Tensor
    sigma: float


def made(seed: int, snr_db: float = 30.0) -> Made:
    found = cmrrecon.simulate("cine", seed=seed, snr_db=snr_db, **SIZE)
    return Made(found.scan, found.image[:, 0], found.maps, found.sigma)


def scan_of(kspace: Tensor, like: Scan) -> Scan:
    """Return a scan of one slice with this k-space (frame, coil, y, x) and the names of another."""
    return Scan.from_kspace(kspace[:, None], like.mask, like.acquisition)


def images_of(scan: Scan, method: str) -> Tensor:
    return solved(scan, method).images[:, 0]


def solved(scan: Scan, method: str) -> Result:
    return cmrrecon.reconstruct(scan, method, device="cpu")


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def table(heads: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


# Repeats


def repeats(scans: int) -> None:
    scan = cmrrecon.undersample(made(0).scan, "kt-gaussian", 8)

    def rows() -> Iterator[Sequence[object]]:
        for method in METHODS:
            torch.set_num_threads(1)
            first, again = images_of(scan, method), images_of(scan, method)
            torch.set_num_threads(2)
            threaded = images_of(scan, method)
            torch.set_num_threads(1)
            same = "equal to the bit" if torch.equal(first, again) else relative(again, first)
            yield method, same, f"{relative(threaded, first):.1e}"

    table(("method", "the same call twice", "two threads instead of one"), rows())


# Symmetry

Change = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def mirrored(x: Tensor, axis: int) -> Tensor:
    """Mirror images or k-space about the middle pixel of an axis of even length."""
    return x.flip(axis).roll(1, axis)


# What is done to k-space (frame, coil, y, x), and what images (frame, y, x) must do.
CHANGES: dict[str, Change] = {
    "scale 1e-12": (lambda k: k * 1e-12, lambda x: x * 1e-12),
    "scale 1e12": (lambda k: k * 1e12, lambda x: x * 1e12),
    "phase of 40 degrees": (lambda k: k * ROTATION, lambda x: x * ROTATION),
    "coils in reverse order": (lambda k: k.flip(1), lambda x: x),
    "three frames later": (lambda k: k.roll(3, 0), lambda x: x.roll(3, 0)),
    "mirrored along y": (lambda k: mirrored(k, -2), lambda x: mirrored(x, -2)),
    "mirrored along x": (lambda k: mirrored(k, -1), lambda x: mirrored(x, -1)),
}
ROTATION = torch.polar(torch.tensor(1.0), torch.deg2rad(torch.tensor(40.0)))


def symmetry(scans: int) -> None:
    scan = cmrrecon.undersample(made(0).scan, "kt-gaussian", 8)
    kspace = scan.series(0).kspace
    plain = {method: images_of(scan, method) for method in METHODS}

    def rows() -> Iterator[Sequence[object]]:
        for name, (of_kspace, of_images) in CHANGES.items():
            changed = Scan.from_kspace(of_kspace(kspace)[:, None], None, scan.acquisition)
            errors = []
            for method in METHODS:
                found, wanted = images_of(changed, method), of_images(plain[method])
                # Methods without a phase of their own return magnitudes.
                errors.append(
                    f"{relative(found, wanted.abs() if not found.is_complex() else wanted):.1e}"
                )
            yield name, *errors

    table(("change", *METHODS), rows())


# Samples


def samples(scans: int) -> None:
    """Reconstruct with nested masks: every line of R 10 is in R 8, and so on."""
    steps = (10, 8, 6, 4)

    def psnrs(seed: int, method: str) -> list[float]:
        one, chosen = made(seed), None
        found = []
        for step, acceleration in enumerate(steps):
            mask = (
                cmrrecon.undersample(one.scan, "kt-gaussian", acceleration, seed=100 * seed + step)
                .series(0)
                .mask.samples
            )
            chosen = mask if chosen is None else chosen | mask
            kspace = one.scan.series(0).kspace * chosen[:, None]
            scan = Scan.from_kspace(kspace[:, None], chosen, one.scan.acquisition)
            found.append(psnr(images_of(scan, method).abs(), one.truth.abs()))
        return found

    def rows() -> Iterator[Sequence[object]]:
        for method in ("llr", "kt-unrolled", "auto"):
            runs = [psnrs(seed, method) for seed in range(scans)]
            gains = [b - a for run in runs for a, b in itertools.pairwise(run)]
            worse = sum(gain < -0.1 for gain in gains)
            means = ", ".join(
                f"{statistics.mean(column):.1f}" for column in zip(*runs, strict=True)
            )
            yield method, means, f"{min(gains):+.2f}", f"{worse} of {len(gains)}"

    heads = ("method", "mean PSNR dB at R 10, 8, 6, 4", "smallest gain dB", "steps that lose > 0.1")
    table(heads, rows())


def psnr(found: Tensor, truth: Tensor) -> float:
    return float(-10 * torch.log10((found - truth).square().mean() / truth.max().square()))


# Lesions


def discs(one: Made, seed: int) -> list[Tensor]:
    """Return up to `PLACES` lesions (y, x) in the body that do not overlap, as changes of it."""
    draw = torch.Generator().manual_seed(seed)
    level = one.truth.abs().mean(0)
    rows, columns = torch.meshgrid(*map(torch.arange, level.shape), indexing="ij")

    # Where the whole neighbourhood has signal.
    dim = -torch.nn.functional.max_pool2d(-level[None, None], 7, 1, 3)[0, 0]
    candidates = (dim > LEAST_SIGNAL * level.max()).nonzero()

    found: list[Tensor] = []
    centres: list[tuple[int, int]] = []
    for chosen in torch.randperm(len(candidates), generator=draw).tolist():
        y, x = candidates[chosen].tolist()
        if len(found) == PLACES or any((y - a) ** 2 + (x - b) ** 2 < 12**2 for a, b in centres):
            continue

        centres.append((y, x))
        radius = SIDES[len(found) % len(SIDES)] / 2
        distance = ((rows - y) ** 2 + (columns - x) ** 2).sqrt()
        cover = (radius + 0.5 - distance).clamp(0, 1)
        sign = 1 if len(found) % 2 else -1
        found.append(sign * CONTRASTS[len(found) // 2 % 3] * level[y, x] * cover)
    return found


def with_lesions(one: Made, lesions: Tensor, frames: slice) -> Made:
    """Add lesions (y, x) to some frames; the noise stays the same."""
    added = torch.zeros_like(one.truth)
    added[frames] = lesions * one.truth[frames] / one.truth[frames].abs().clamp(min=1e-6)
    kspace = one.scan.series(0).kspace + fft2c(one.maps * added[:, None])
    return replace(one, scan=scan_of(kspace, one.scan), truth=one.truth + added)


def recovered(found: Tensor, plain: Tensor, wanted: Tensor, lesions: list[Tensor]) -> list[float]:
    """Return the contrast of each lesion in magnitudes (frame, y, x), relative to `wanted`."""
    return [float(((found - plain) * lesion).sum() / (wanted * lesion).sum()) for lesion in lesions]


def lesions(scans: int) -> None:
    kinds = {"static": slice(None), "in one frame": slice(3, 4)}
    methods = ("full", "llr", "kt-unrolled", "auto")
    patterns = ("kt-gaussian", "uniform")
    shares: dict[tuple[str, str, str], list[float]] = {}

    for seed, pattern in itertools.product(range(scans), patterns):
        one = made(seed)
        places = discs(one, seed)
        plain = {method: magnitude(one.scan, pattern, method) for method in methods}
        for kind, frames in kinds.items():
            ill = with_lesions(one, sum(places[1:], places[0]), frames)
            wanted = (ill.truth.abs() - one.truth.abs())[frames]
            for method in methods:
                found = magnitude(ill.scan, pattern, method)[frames]
                into = shares.setdefault((pattern, kind, method), [])
                into += recovered(found, plain[method][frames], wanted, places)

    def rows() -> Iterator[Sequence[object]]:
        for pattern, kind in itertools.product(patterns, kinds):
            values = [shares[pattern, kind, method] for method in methods]
            yield pattern, kind, len(values[0]), *map(quantiles, values)

    table(("pattern, R 8", "lesions", "places", "fully sampled", *methods[1:]), rows())


def magnitude(full: Scan, pattern: str, method: str) -> Tensor:
    if method == "full":
        return images_of(full, "sense").abs()
    return images_of(cmrrecon.undersample(full, pattern, 8, seed=1), method).abs()


def quantiles(values: Sequence[float]) -> str:
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


# Invented structure


def invented(scans: int) -> None:
    """Count pixels above four times the root mean square of images of noise alone."""

    def pixels(seed: int, pattern: str, method: str) -> tuple[int, bool]:
        scan = made(seed).scan
        draw = torch.Generator().manual_seed(seed)
        noise = torch.randn(scan.series(0).kspace.shape, dtype=torch.complex64, generator=draw)
        result = solved(cmrrecon.undersample(scan_of(noise, scan), pattern, 8), method)
        image = result.images.abs()
        loud = int((image > 4 * image.square().mean().sqrt()).sum())
        return loud, any("noise" in text for text in result.warnings)

    def rows() -> Iterator[Sequence[object]]:
        for method in METHODS:
            found = [
                pixels(seed, p, method) for p in PATTERNS for seed in range(max(1, scans // 4))
            ]
            counts, warned = zip(*found, strict=True)
            yield method, f"{min(counts)} to {max(counts)}", f"{sum(warned)} of {len(warned)}"

    print("Noise alone, R 8:\n")
    table(("method", "pixels above 4 RMS of 122,880", "scans with a warning"), rows())


# Residual


def residual(scans: int) -> None:
    def rows() -> Iterator[Sequence[object]]:
        for method in ("llr", "kt-unrolled", "auto"):
            found = []
            for seed in range(max(4, scans * 5 // 2)):
                one = made(seed, snr_db=20 + seed % 3 * 5)
                scan = cmrrecon.undersample(one.scan, PATTERNS[seed % 3], (4, 8)[seed % 2])
                found += [value for value in solved(scan, method).residuals if value is not None]
            outside = sum(not 0.8 <= value <= 1.25 for value in found)
            yield (
                method,
                quantiles(found),
                f"{min(found):.2f} to {max(found):.2f}",
                (f"{outside} of {len(found)}"),
            )

    table(("method", "median residual (5 to 95 %)", "range", "outside 0.8 to 1.25"), rows())


PARTS = {
    "repeats": repeats,
    "symmetry": symmetry,
    "samples": samples,
    "lesions": lesions,
    "invented": invented,
    "residual": residual,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--scans", type=int, default=20, help="scans of each part that uses many")
    asked = parser.parse_args()

    torch.set_num_threads(1)
    for name in asked.only:
        print(f"\n## {name}\n")
        PARTS[name](asked.scans)


if __name__ == "__main__":
    main()
