"""`cmrrecon evaluate`: scores of reconstructions by a named protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cmrrecon.cli import batch, options
from cmrrecon.cli.batch import Job
from cmrrecon.cli.console import Talk
from cmrrecon.cli.settings import parse_numbers

EXAMPLE = "Example: cmrrecon evaluate rec/ --truth data/ --protocol cmrxrecon2025 --json >> scores.jsonl"


@dataclass(frozen=True)
class Plan:
    """What the command line asks of every reconstruction."""

    candidates: Sequence[Path]
    protocol: str
    order: str
    crop: bool
    heart: tuple[int, int, int, int] | None
    exclude_saturated: bool


def evaluate(
    inputs: options.Inputs,
    truth: Annotated[
        Path, options.option("--truth", help="Reference: truth images or fully sampled k-space; a file or a folder to search.")
    ],
    protocol: Annotated[
        str, options.option("--protocol", help="Scoring rule: fullfov, cmrxrecon2023, cmrxrecon2024 or cmrxrecon2025.")
    ] = "fullfov",
    order: Annotated[
        str, options.option("--order", help="official: as the challenge's program calls it; textbook: reference always first.")
    ] = "official",
    crop: Annotated[
        bool, options.option("--crop/--no-crop", help="The challenges' validation-phase crop, or full images (test phase).")
    ] = True,
    heart: Annotated[
        str | None, options.option("--heart", help="Box y0,y1,x0,x1 of fullfov's heart PSNR.", show_default="central y/2 x x/3")
    ] = None,
    exclude_saturated: Annotated[
        bool, options.option("--exclude-saturated", help="fullfov: leave out reference pixels of 0.99 of the maximum and more.")
    ] = False,
    shard: options.Shard = None,
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Score reconstructions against references; no number is given without its protocol.

    References are matched by base name, subject, centre and vendor. Tables go to standard error, scores to
    standard output with --json (one line a file, then one line of summary).
    """
    talk = Talk(quiet=quiet, as_json=json)
    with batch.command(talk):
        from cmrrecon import formats
        from cmrrecon.errors import InputError
        from cmrrecon.evaluation.protocols import canonical_protocol

        if not truth.exists():
            raise InputError(f"The reference {truth} does not exist", "A file or a folder was expected", "Check --truth")
        candidates = [truth] if truth.is_file() else [p for p in sorted(truth.rglob("*")) if p.suffix in formats.SUFFIXES and p.is_file()]
        box = None if heart is None else parse_numbers(heart, 4, ",", "--heart", "--heart 40,125,150,280")
        name = canonical_protocol(protocol)
        plan = Plan(candidates, name, order, crop, None if box is None else (box[0], box[1], box[2], box[3]), exclude_saturated)
        jobs = batch.find_jobs(inputs, formats.is_images, shard)
        records: list[dict[str, Any]] = []
        try:
            batch.run_jobs(jobs, lambda job: records.append(_evaluate_job(job, plan, talk)), talk, fail_fast=fail_fast)
        finally:
            if records:
                _summary(records, name, talk)


def _evaluate_job(job: Job, plan: Plan, talk: Talk) -> dict[str, Any]:
    from cmrrecon import formats
    from cmrrecon.evaluation.protocols import ranking_crop, score
    from cmrrecon.evaluation.references import acquisition_of, find_reference, load_reference

    with batch.local_input(job) as path:
        images = formats.read_images(path)
        stamp = formats.read_provenance(path) or {}
        facts = acquisition_of(path, stamp)
        reference_path = plan.candidates[0] if len(plan.candidates) == 1 else find_reference(facts, plan.candidates)
        reference, source = load_reference(reference_path)
        config = stamp.get("config", {})
        if config.get("slices") and len(config["slices"]) == images.shape[1] < reference.shape[1]:
            reference = reference[:, config["slices"]]
        year = None if plan.protocol == "fullfov" else int(plan.protocol.removeprefix("cmrxrecon"))
        if year is not None and plan.crop:
            whole = images.shape == reference.shape
            reference = ranking_crop(reference, base=facts.base, year=year)
            images = ranking_crop(images, base=facts.base, year=year) if whole else images
        scores = score(
            images,
            reference,
            protocol=plan.protocol,
            order=plan.order,
            base=facts.base,
            year=year,
            heart=plan.heart,
            exclude_saturated=plan.exclude_saturated,
        )
        record = {
            "status": "done",
            "input": job.name,
            "reference": str(reference_path),
            "reference_is": source,
            "method": config.get("method"),
            "modality": facts.modality,
            "base": facts.base,
            "subject": facts.subject,
            "centre": facts.centre,
            "vendor": facts.vendor,
            "pattern": facts.pattern,
            "acceleration": facts.acceleration,
            "cropped": year is not None and plan.crop,
            **scores.as_dict(),
        }
        talk.result(record, job.name)
        return record


def _summary(records: list[dict[str, Any]], protocol: str, talk: Talk) -> None:
    from cmrrecon.evaluation.tables import final_aggregate, grouped

    columns = ["PSNR dB", "SSIM", "NMSE"] + (["heart PSNR dB", "HFEN"] if protocol == "fullfov" else [])
    keys = ["psnr", "ssim", "nmse"] + (["heart_psnr", "hfen"] if protocol == "fullfov" else [])
    title = f"protocol {protocol}, reference: {', '.join(sorted({r['reference_is'] for r in records}))}"
    talk.table(title, ["file", "method", *columns], ([r["input"], r["method"] or "-", *(_figure(r[k]) for k in keys)] for r in records))
    groups = {}
    for axis in ("method", "modality", "pattern", "acceleration", "centre", "vendor"):
        table = grouped(records, axis)
        if len(table) > 1:
            talk.table(
                f"by {axis}, protocol {protocol}",
                [axis, "files", *columns[:3]],
                ([str(g), str(m["n"]), *(_figure(m[k]) for k in keys[:3])] for g, m in table.items()),
            )
        groups[axis] = {str(g): m for g, m in table.items()}
    finals: dict[str, dict[str, float]] = {}
    if protocol != "fullfov":
        for method in sorted({str(r["method"]) for r in records}):
            final = final_aggregate([r for r in records if str(r["method"]) == method], int(protocol.removeprefix("cmrxrecon")))
            if final:
                finals[method] = final
                talk.table(
                    f"final aggregate of {method} as {protocol} computes it",
                    ["score", "value"],
                    ([n, _figure(v)] for n, v in final.items()),
                )
    talk.result({"status": "summary", "protocol": protocol, "files": len(records), "groups": groups, "final": finals}, None)


def _figure(value: float | str | None) -> str:
    """Four significant decimals below one, two above, as such scores are usually given."""
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"
