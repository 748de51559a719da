"""The tables of out_of_the_box.py."""

import statistics
from collections.abc import Sequence
from typing import Any

from cmrrecon.methods.shipped import NAME as NETWORK

DEFAULT, REFINED = "kt-wavelet 0.01", "kt-wavelet, refined maps"
# `auto` without the network, and the network after some steps on the scan itself.
WITHOUT, ADAPTED = "auto without network", "kt-unrolled adapted"
# Repeats the oracle to score it by every protocol.
YARDSTICK = "oracle by protocol"
# The groups of semi-real cine for reporting.
SEMI_REAL = ("p003", "centres")


def oracle(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the classical record with the highest PSNR, if there is any."""
    classical = [record for record in records if "method" in record]
    return max(classical, key=lambda record: record["psnr"], default=None)


def t1_text(record: dict[str, Any]) -> str:
    """Format the T1 error of a record."""
    return f"{record['t1_rmse_ms']:.1f} ({record['t1_bias_ms']:+.1f})"


def score_text(record: dict[str, Any]) -> str:
    """Format the scores of a record."""
    return f"{record['psnr']:.2f}, {record['ssim']:.4f}, {record['hfen']:.4f}"


def table(records: Sequence[dict[str, Any]]) -> None:
    """Print the network and `auto`, also without the network, against the oracle.

    Further tables show what adaptation and refined maps change, and T1 in the myocardium.
    """
    by_case: dict[str, list[Any]] = {}
    for record in records:
        by_case.setdefault(record["case"], []).append(record)
    measured = {record["engine"] for record in records}
    titles = {NETWORK: "network", WITHOUT: WITHOUT, "auto": "auto"}
    engines = [engine for engine in titles if engine in measured]
    print(
        f"| group | case | oracle | PSNR, SSIM, HFEN | {' | '.join(titles[e] for e in engines)} |\n"
        f"|{'---|' * (4 + len(engines))}"
    )
    gains: dict[tuple[str, str], list[dict[str, float]]] = {}
    for case, found in by_case.items():
        if (best := oracle(found)) is None:
            continue
        cells = []
        for engine in engines:
            record = next((record for record in found if record["engine"] == engine), None)
            if record is None:
                cells.append("")
                continue
            gain = {key: record[key] - best[key] for key in ("psnr", "ssim", "hfen")}
            gains.setdefault((found[0]["group"], engine), []).append(gain)
            cells.append(f"{gain['psnr']:+.2f}, {gain['ssim']:+.4f}, {gain['hfen']:+.4f}")
        print(
            f"| {found[0]['group']} | {case} | {best['engine']} | {score_text(best)} "
            f"| {' | '.join(cells)} |"
        )
    print(
        "\n| group | engine | cases | median gain PSNR, SSIM, HFEN | improved | worst |\n"
        "|---|---|---|---|---|---|"
    )
    for (group, engine), each in gains.items():
        median = {key: statistics.median(gain[key] for gain in each) for key in each[0]}
        improved, worst = (
            sum(gain["psnr"] > 0 for gain in each) / len(each),
            min(gain["psnr"] for gain in each),
        )
        print(
            f"| {group} | {engine} | {len(each)} "
            f"| {median['psnr']:+.2f}, {median['ssim']:+.4f}, {median['hfen']:+.4f} "
            f"| {improved:.0%} | {worst:+.2f} |"
        )
    for title, engines in (
        ("PSNR, SSIM, HFEN | network | adapted", (NETWORK, ADAPTED)),
        (
            "kt-wavelet with its default weight: PSNR, SSIM, HFEN | ESPIRiT maps | refined maps",
            (DEFAULT, REFINED),
        ),
    ):
        print(f"\n| {title} |\n|{'---|' * (1 + len(engines))}")
        for case, found in by_case.items():
            shown = [
                next((record for record in found if record["engine"] == engine), None)
                for engine in engines
            ]
            if all(shown):
                print(
                    f"| {case} | {' | '.join(score_text(record) for record in shown if record)} |"
                )
    table_by_protocol(records)
    print("\n| T1 | oracle in PSNR | network | auto: RMSE (bias) ms |\n|---|---|---|---|")
    for case, found in by_case.items():
        if "t1_rmse_ms" in found[0]:
            shown = [oracle(found)]
            shown += [
                next((record for record in found if record["engine"] == engine), None)
                for engine in (NETWORK, "auto")
            ]
            print(
                f"| {case} | {' | '.join(t1_text(record) if record else '' for record in shown)} |"
            )


def table_by_protocol(records: Sequence[dict[str, Any]]) -> None:
    """Print the gains of `auto` over the oracle on the semi-real cine, by every protocol."""
    scored = {
        (record["engine"], record["case"]): record["protocols"]
        for record in records
        if "protocols" in record and record["group"] in SEMI_REAL
    }
    pairs = [
        (found, scored[YARDSTICK, case])
        for (engine, case), found in scored.items()
        if engine == "auto" and (YARDSTICK, case) in scored
    ]
    if not pairs:
        return

    heads = (
        "protocol, reference | cases | oracle: median PSNR, SSIM | median gain | improved | worst"
    )
    print(f"\n| {heads} |\n|{'---|' * 6}")
    for key in pairs[0][0]:
        gains = {
            name: [own[key][name] - other[key][name] for own, other in pairs]
            for name in ("psnr", "ssim")
        }
        level = {name: statistics.median(other[key][name] for _, other in pairs) for name in gains}
        middle = {name: statistics.median(each) for name, each in gains.items()}
        improved, worst = sum(gain > 0 for gain in gains["psnr"]), min(gains["psnr"])
        print(
            f"| {key} | {len(pairs)} | {level['psnr']:.2f}, {level['ssim']:.4f} "
            f"| {middle['psnr']:+.2f}, {middle['ssim']:+.4f} | {improved} | {worst:+.2f} |"
        )
