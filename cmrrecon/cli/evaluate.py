"""`cmrrecon evaluate`: scores of reconstructions by a named protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cmrrecon.cli import inputs, options, running
from cmrrecon.cli.console import Talk
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.settings import parse_numbers
from cmrrecon.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from cmrrecon.evaluation.references import Reference

EXAMPLE = "Example: cmrrecon evaluate rec/ --truth data/ --protocol cmrxrecon2025 --json >> scores.jsonl"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asks of every reconstruction; year is None for protocol fullfov."""

    truth: Path
    candidates: Sequence[Path]
    protocol: str
    year: int | None
    order: str
    crop: bool
    heart: tuple[int, int, int, int] | None
    exclude_saturated: bool
    by: tuple[str, ...]
    unseen: tuple[str, ...]
    against: str | None

    def rule(self) -> str:
        """The whole scoring rule in words, for titles."""
        if self.year is None:
            return self.protocol + (" without saturated pixels" if self.exclude_saturated else "")
        return f"{self.protocol}, {self.order} order, {'ranking crop' if self.crop else 'not cropped'}"


def evaluate(
    files: options.Inputs,
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
    by: Annotated[
        str | None,
        options.option(
            "--by", help="Also a table with bootstrap intervals by these, e.g. domain,pattern,acceleration.", show_default=False
        ),
    ] = None,
    unseen: Annotated[
        list[str] | None,
        options.option("--unseen", help="A domain (centre or centre/vendor) that was not trained on; for --by seen.", show_default=False),
    ] = None,
    against: Annotated[
        str | None, options.option("--against", help="Paired differences of the other methods to this one.", show_default=False)
    ] = None,
    shard: options.Shard = None,
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Score reconstructions against references; no number is given without its protocol.

    References are matched by base name, subject, centre, vendor, coil type, split and year, as far as known. fullfov prefers a
    noise-free truth, the challenges' protocols fully sampled k-space. Tables go to standard error, scores to standard output
    with --json: one line a file, then a summary.
    """
    talk = Talk(quiet=quiet, as_json=json)
    with running.command(talk):
        from cmrrecon import formats
        from cmrrecon.evaluation.generalisation import table
        from cmrrecon.evaluation.protocols import canonical_protocol
        from cmrrecon.evaluation.references import candidates_in

        if not truth.exists():
            raise InputError(f"The reference {truth} does not exist", "A file or a folder was expected", "Check --truth")
        box = None if heart is None else parse_numbers(heart, 4, ",", "--heart", "--heart 40,125,150,280")
        name = canonical_protocol(protocol)
        plan = Plan(
            truth=truth,
            candidates=candidates_in(truth),
            protocol=name,
            year=None if name == "fullfov" else int(name.removeprefix("cmrxrecon")),
            order=order,
            crop=crop,
            heart=None if box is None else (box[0], box[1], box[2], box[3]),
            exclude_saturated=exclude_saturated,
            by=tuple(axis.strip() for axis in by.split(",")) if by else (),
            unseen=tuple(unseen or ()),
            against=against,
        )
        table([], plan.by)
        if plan.year is not None and (heart is not None or exclude_saturated):
            raise UsageError(
                f"--heart or --exclude-saturated was given with {name}",
                "Only fullfov knows them",
                "Leave them out, or use --protocol fullfov",
            )
        jobs = inputs.find_jobs(files, formats.is_images, shard)
        records: list[dict[str, Any]] = []
        try:
            running.run_jobs(jobs, lambda job: records.append(_evaluate_job(job, plan, talk)), talk, fail_fast=fail_fast)
        finally:
            if records:
                _summary(records, plan, talk, whole=len(records) == len(jobs) and shard is None)


def _evaluate_job(job: Job, plan: Plan, talk: Talk) -> dict[str, Any]:
    from cmrrecon import formats
    from cmrrecon.evaluation.protocols import score
    from cmrrecon.evaluation.references import acquisition_of, reference_for, slices_of

    with inputs.local_input(job) as path:
        images = formats.read_images(path)
        stamp = formats.read_provenance(path)
        facts = acquisition_of(path, stamp)
        reference = reference_for(facts, plan.truth, plan.candidates, truth_first=plan.year is None)
        if facts.subject is None and formats.parse_name(reference.path).subject is not None:
            talk.warn(f"the subject of {job.name} is not known: that {reference.path} is of the same scan was not checked")
        numbers = slices_of(stamp, images.shape[1])
        if plan.year is not None and plan.crop:
            images, expected = _cropped(images, numbers, reference, facts.base, plan.year, job.name)
        else:
            expected = reference.images(numbers)
        scores = score(
            images,
            expected,
            protocol=plan.protocol,
            order=plan.order,
            base=facts.base,
            heart=plan.heart,
            exclude_saturated=plan.exclude_saturated,
        )
        origin = {
            key: getattr(facts, key) for key in ("modality", "base", "subject", "centre", "vendor", "coil", "pattern", "acceleration")
        }
        record = {"status": "done", "input": job.name, "reference": str(reference.path), "reference_is": reference.source, **origin}
        record |= {"method": (stamp or {}).get("config", {}).get("method"), "slices": images.shape[1]}
        record |= {"cropped": plan.year is not None and plan.crop, **scores.as_dict()}
        talk.result(record, job.name)
        return record


def _cropped(images: "Tensor", numbers: list[int], reference: "Reference", base: str, year: int, name: str) -> "tuple[Tensor, Tensor]":
    """Reconstruction and reference after the ranking crop, which a submission has behind it already; other slices are not loaded."""
    from cmrrecon.evaluation.protocols import ranking_crop, ranking_slices

    scored = ranking_slices(len(reference.slices))
    expected = ranking_crop(reference.images(reference.slices[scored]), base=base, year=year)
    if images.shape == expected.shape:
        return images, expected
    if numbers != list(reference.slices):
        raise InputError(
            f"{name} has {len(numbers)} of the {len(reference.slices)} slices of its scan",
            "The ranking crop chooses from all slices",
            "Reconstruct the whole scan, or score with --no-crop",
        )
    return ranking_crop(images[:, scored], base=base, year=year), expected


def _summary(records: list[dict[str, Any]], plan: Plan, talk: Talk, *, whole: bool) -> None:
    """Tables of all that was scored, and the challenge's final values if the run is what the challenge would score."""
    from cmrrecon.evaluation.tables import grouped

    keys = ["psnr", "ssim", "nmse"] + (["heart_psnr", "hfen"] if plan.year is None else [])
    columns = ["PSNR dB", "SSIM", "NMSE", "heart PSNR dB", "HFEN"][: len(keys)]
    references = ", ".join(sorted({r["reference_is"] for r in records}))
    rows = ([r["input"], r["method"] or "-", *(_figure(r[k]) for k in keys)] for r in records)
    talk.table(f"protocol {plan.rule()}; reference: {references}", ["file", "method", *columns], rows)
    groups: dict[str, Any] = {}
    for axis in ("method", "modality", "pattern", "acceleration", "centre", "vendor"):
        groups[axis] = grouped(records, axis)
        if len(groups[axis]) > 1:
            lines = ([label, str(mean["n"]), *(_figure(mean[k]) for k in keys[:3])] for label, mean in groups[axis].items())
            talk.table(f"by {axis}; protocol {plan.rule()}", [axis, "files", *columns[:3]], lines)
    generalisation = _generalisation(records, plan, talk)
    final = _final(records, plan, talk, whole=whole)
    summary = {"protocol": plan.protocol, "order": records[0]["order"], "cropped": records[0]["cropped"], "files": len(records)}
    talk.result({"status": "summary", **summary, "groups": groups, **generalisation, "final": final}, None)


def _generalisation(records: list[dict[str, Any]], plan: Plan, talk: Talk) -> dict[str, Any]:
    """The table by domains or other axes with its uncertainty, and paired differences, if they were asked for."""
    from cmrrecon.evaluation.generalisation import cells, paired, placed, table

    found: dict[str, Any] = {}
    if plan.by:
        rows = table(placed(records, plan.unseen), plan.by)
        axes = [*plan.by, *(["method"] if "method" not in plan.by else [])]
        title = f"by {', '.join(plan.by)}; protocol {plan.rule()}; mean [95 % bootstrap interval over files]"
        talk.table(title, [*axes, "files", "PSNR dB", "SSIM", "NMSE"], [cells(row, plan.by) for row in rows])
        found["by"] = rows
    if plan.against is not None:
        others = sorted({str(record["method"]) for record in records} - {plan.against})
        found["against"] = {other: paired(records, plan.against, other) for other in others}
        lines = [
            [other, str(numbers["psnr"]["n"]), *(f"{n['mean']:+.4g} [{n['low']:+.4g}, {n['high']:+.4g}]" for n in numbers.values())]
            for other, numbers in found["against"].items()
        ]
        talk.table(f"differences to {plan.against}; protocol {plan.rule()}", ["method", "files", "PSNR dB", "SSIM", "NMSE"], lines)
    return found


def _final(records: list[dict[str, Any]], plan: Plan, talk: Talk, *, whole: bool) -> dict[str, dict[str, float]]:
    """Method -> the challenge's final values. They are those of the validation phase, so only of official order and crop."""
    from cmrrecon.evaluation.tables import final_aggregate

    if plan.year is None:
        return {}
    if not whole or plan.order != "official" or not plan.crop:
        talk.say(f"no final aggregate: {plan.protocol} forms it from all files, in official order, with the ranking crop")
        return {}
    by_method: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_method.setdefault(record["method"] or "unknown method", []).append(record)
    finals = {method: final_aggregate(members, plan.year) for method, members in by_method.items()}
    for method, final in finals.items():
        if final:
            lines = ([name, _figure(value)] for name, value in final.items())
            talk.table(f"final aggregate of {method}, as {plan.protocol} forms it from these files", ["score", "value"], lines)
    return finals


def _figure(value: float | str | None) -> str:
    """Four decimals below two, two above, as such scores are usually given."""
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"
