"""The training loop: read top to bottom.

A run is a folder: `last.pt` (all it needs to go on), `best.safetensors` (the weights with the best validation), `log.jsonl` (a line a
step, and one a validation) and `recipe.json`. What is drawn follows from the seed and the step alone (see `dataset`), so a
run that is stopped and started again takes the same steps as one that is not.
"""

import copy
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon import __version__, provenance
from cmrrecon.errors import NumericalError
from cmrrecon.evaluation.protocols import score
from cmrrecon.formats.atomic import atomic
from cmrrecon.networks import weights
from cmrrecon.networks.catalog import build
from cmrrecon.networks.interface import Output
from cmrrecon.physics.coils import rss
from cmrrecon.physics.fourier import ifft2c
from cmrrecon.reconstruct.overlap import ahead
from cmrrecon.training import checkpoint
from cmrrecon.training.dataset import Place, Sample, Windows, batches
from cmrrecon.training.distributed import Group
from cmrrecon.training.objective import Objective
from cmrrecon.training.recipe import Recipe

LAST, BEST, LOG, RECIPE = "last.pt", "best.safetensors", "log.jsonl", "recipe.json"
# Steps in a row without finite gradients after which training ends.
MOST_BAD_STEPS = 10
VALIDATION_PROTOCOL = "fullfov"
ALONE = Group()


@dataclass(frozen=True)
class Hooks:
    """How a run talks with whoever started it.

    Attributes
    ----------
    say : is told sentences
    on_step : is called after every step with what was logged
    should_stop : asked after every step; then the state is saved and the run ends
    """

    say: Callable[[str], None]
    on_step: Callable[[Mapping[str, Any]], None]
    should_stop: Callable[[], bool]


class Run:
    """Network, discriminator, optimisers and everything else that training changes."""

    def __init__(self, recipe: Recipe, device: torch.device, group: Group, *, checkpointing: bool = False) -> None:
        self.group = group
        torch.manual_seed(recipe.schedule.seed)
        config = {key: value for key, value in recipe.network.items() if key != "name"}
        self.network = build(recipe.network["name"], config).to(device).train()
        if hasattr(self.network, "checkpointing"):
            self.network.checkpointing = checkpointing  # type: ignore[assignment]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False) if recipe.schedule.average else None
        adversarial = recipe.losses.adversarial.weight > 0
        self.discriminator = build("patch-gan").to(device).train() if adversarial else None
        self.objective = Objective(recipe.losses, device, group)
        self.optimisers = [adamw(part, recipe) for part in (self.network, self.discriminator) if part is not None]
        self.step = self.bad_steps = 0
        self.epoch = self.position = 0
        self.best = -math.inf
        self.stale = 0

    def parts(self) -> dict[str, Any]:
        """What has a state_dict, by name."""
        named: dict[str, Any] = {
            "network": self.network,
            "average": self.average,
            "discriminator": self.discriminator,
            "objective": self.objective,
        }
        named |= {f"optimiser {number}": optimiser for number, optimiser in enumerate(self.optimisers)}
        return {name: part for name, part in named.items() if part is not None}

    def state(self) -> dict[str, Any]:
        """For `checkpoint.save`."""
        counters = {key: getattr(self, key) for key in ("step", "bad_steps", "epoch", "position", "best", "stale")}
        return {**counters, "parts": {name: part.state_dict() for name, part in self.parts().items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `state` gave, of a run of the same recipe."""
        for name, part in self.parts().items():
            part.load_state_dict(state["parts"][name])
        for key in ("step", "bad_steps", "epoch", "position", "best", "stale"):
            setattr(self, key, state[key])


def adamw(part: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """The optimiser of the trained parameters of a network."""
    trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=recipe.optimiser.lr, weight_decay=recipe.optimiser.weight_decay)


def train(
    recipe: Recipe,
    store: Path,
    training: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    out: Path,
    device: torch.device,
    hooks: Hooks,
    group: Group = ALONE,
    *,
    checkpointing: bool = False,
    most_steps: int | None = None,
) -> Run:
    """Train, or go on training, in the folder `out`.

    Parameters
    ----------
    group : the processes that train together, each called alike with its own device
    store : folder made by `preprocess`
    training, validation : entries of its scans
    checkpointing : compute activations again in the backward pass, for less memory
    most_steps : stop when so many steps were taken in all, as if asked to
    """
    run = Run(recipe, device, group, checkpointing=checkpointing)
    last = out / LAST
    if last.exists():
        run.restore(checkpoint.load(last))
        if group.rank == 0:
            forget_later(out / LOG, run.step)
        hooks.say(f"going on after step {run.step}, in epoch {run.epoch}")
    for note in run.objective.notes:
        hooks.say(note)
    if most_steps is not None and run.step >= most_steps:
        return run
    width = int(run.network.frames)  # type: ignore[arg-type]
    seen = Windows(store, training, width, recipe.sampling, recipe.data, recipe.schedule.seed)
    held = Windows(store, validation, width, recipe.sampling, recipe.data, recipe.schedule.seed, fixed=True)
    saved = time.monotonic()
    with open(out / LOG if group.rank == 0 else os.devnull, "a", encoding="utf-8", buffering=1) as log:
        while run.epoch < recipe.schedule.epochs:
            order = share(batches(seen, run.epoch, recipe.schedule.batch), group)
            started, waited = time.perf_counter(), 0.0
            for batch in ahead(partial(samples, seen, run.epoch), order[run.position :]):
                waited += time.perf_counter() - started
                record = take_step(run, recipe, batch, last=run.position + 1 == len(order), device=device)
                spent = time.perf_counter() - started
                record |= {"seconds": round(spent, 4), "waiting": round(waited / spent, 3)}
                log.write(json.dumps(record) + "\n")
                hooks.on_step(record)
                # Between the batches of an accumulation there are gradients that the state does not hold.
                if "gradient" in record:
                    # All processes stop together, at the same step.
                    stop = any(group.gather(hooks.should_stop())) or (most_steps is not None and run.step >= most_steps)
                    if group.rank == 0 and (stop or time.monotonic() - saved >= recipe.schedule.save_every):
                        log.flush()
                        checkpoint.save(last, run.state())
                        saved = time.monotonic()
                    if stop:
                        return run
                started, waited = time.perf_counter(), 0.0
            finish_epoch(run, recipe, held, out, device, log.write, hooks)
            if group.rank == 0:
                checkpoint.save(last, run.state())
            if recipe.schedule.patience and run.stale >= recipe.schedule.patience:
                hooks.say(f"no better validation for {run.stale} epochs: training ends")
                break
    return run


def take_step(run: Run, recipe: Recipe, batch: list[Sample], *, last: bool, device: torch.device) -> dict[str, Any]:
    """One batch: gradients, and with the last batch of an accumulation the steps of all optimisers; what is to be logged."""
    kspace, mask, target, target_kspace, limit = collate(batch, device)
    rate = recipe.optimiser.lr * recipe.optimiser.factor ** (run.epoch // recipe.optimiser.step)
    for optimiser in run.optimisers:
        optimiser.param_groups[0]["lr"] = rate
    # Convolutions alone are lowered: Fourier transforms and data consistency are complex, which is never cast, and losses stand outside.
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.schedule.precision == "bf16"):
        output: Output = run.network(kspace, mask, batch[0].acs)
    zero_filled = rss(ifft2c(kspace[:, kspace.shape[1] // 2]))
    loss, record = run.objective(output, target, target_kspace, limit, batch[0].domain, run.discriminator, zero_filled)
    (loss / recipe.optimiser.accumulate).backward()  # type: ignore[no-untyped-call]
    if run.discriminator is not None:
        judged = run.objective.judge(run.discriminator, output, target, zero_filled)
        (judged / recipe.optimiser.accumulate).backward()  # type: ignore[no-untyped-call]
        record["discriminator"] = float(judged.detach())
    run.position += 1
    if run.position % recipe.optimiser.accumulate == 0 or last:
        record["gradient"] = update(run, recipe)
    return {"step": run.step, "epoch": run.epoch, "position": run.position, "rate": rate, **record}


def update(run: Run, recipe: Recipe) -> float:
    """Clip and step every optimiser, unless a gradient is not finite; returns the norm of the network's gradient."""
    parts = [part for part in (run.network, run.discriminator) if part is not None]
    limit = recipe.optimiser.clip or math.inf
    run.group.average_gradients(parts)
    norms = [float(nn.utils.clip_grad_norm_(part.parameters(), limit)) for part in parts]
    if all(map(math.isfinite, norms)):
        for optimiser in run.optimisers:
            optimiser.step()
        run.bad_steps = 0
        if run.average is not None:
            follow(run.average, run.network, recipe.schedule.average)
    else:
        run.bad_steps += 1
        if run.bad_steps >= MOST_BAD_STEPS:
            raise NumericalError(
                f"{MOST_BAD_STEPS} steps in a row gave gradients that are not finite",
                "A training step needs finite gradients",
                "Start again with a smaller optimiser.lr, or look for damaged scans",
            )
    for optimiser in run.optimisers:
        optimiser.zero_grad()
    run.step += 1
    return norms[0]


def follow(average: nn.Module, network: nn.Module, memory: float) -> None:
    """Move the running average of the weights towards the weights."""
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            mean.lerp_(value, 1 - memory)


def finish_epoch(
    run: Run, recipe: Recipe, held: Windows, out: Path, device: torch.device, write: Callable[[str], Any], hooks: Hooks
) -> None:
    """Validate, keep the best weights, and turn to the next epoch."""
    network = run.average if run.average is not None else run.network
    # The first process validates for all.
    result = run.group.gather(validate(network, held, device) if len(held) and run.group.rank == 0 else {})[0]
    run.epoch, run.position = run.epoch + 1, 0
    record = {"validation": result, "protocol": VALIDATION_PROTOCOL, "step": run.step, "epoch": run.epoch}
    write(json.dumps(record) + "\n")
    hooks.on_step(record)
    better = not result or result["ssim"] > run.best
    run.stale = 0 if better else run.stale + 1
    if better:
        run.best = result.get("ssim", run.best)
    if better and run.group.rank == 0:
        facts = {"recipe": recipe.as_dict(), "metrics": {**result, "protocol": VALIDATION_PROTOCOL}, "steps": run.step, "epochs": run.epoch}
        weights.save(out / BEST, network, {**provenance.plain(facts), "normalisation": "scale of the scan, networks are equivariant"})
    if result:
        hooks.say(
            f"epoch {run.epoch}: PSNR {result['psnr']:.2f} dB, SSIM {result['ssim']:.4f} "
            f"({VALIDATION_PROTOCOL} against fully sampled RSS, {len(held)} windows)"
        )


def validate(network: nn.Module, held: Windows, device: torch.device) -> dict[str, float]:
    """Mean scores of all windows of the validation scans, with masks that are the same every time."""
    network.eval()
    scores = []
    with torch.inference_mode():
        for batch in ahead(partial(samples, held, 0), [[place] for place in held.places]):
            kspace, mask, target, _, _ = collate(batch, device)
            image = network(kspace, mask, batch[0].acs).image
            scores.append(score(image[:, None].cpu(), target[:, None].cpu(), protocol=VALIDATION_PROTOCOL))
    network.train()
    return {key: sum(getattr(one, key) for one in scores) / len(scores) for key in ("psnr", "ssim", "nmse")}


def samples(windows: Windows, epoch: int, batch: list[Place]) -> list[Sample]:
    """The windows of a batch."""
    return [windows.sample(place, epoch) for place in batch]


def collate(batch: list[Sample], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """K-space, mask, target, its k-space and its range of a batch, on the device."""
    frames, width = (max(len(s.mask) for s in batch), max(s.mask.shape[-1] for s in batch))
    masks = [s.mask.expand(frames, -1, width) for s in batch]
    stacked = [
        torch.stack(part) for part in ([s.kspace for s in batch], masks, [s.target for s in batch], [s.target_kspace for s in batch])
    ]
    kspace, mask, target, target_kspace = (part.to(device) for part in stacked)
    return kspace, mask, target, target_kspace, torch.tensor([s.limit for s in batch], device=device)


def share(order: list[list[Place]], group: Group) -> list[list[Place]]:
    """Every process's batches, as many for each: the last turn is filled up with the first batches."""
    turns = -(-len(order) // group.size)
    filled = [order[number % len(order)] for number in range(turns * group.size)]
    return filled[group.rank :: group.size]


def forget_later(log: Path, step: int) -> None:
    """Leave out what a killed run logged after its last state: these steps are taken again."""
    if log.exists():
        # The last line of a killed run may be half a line, without its end.
        whole = log.read_text().rpartition("\n")[0].splitlines()
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        with atomic(log) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept))


def write_recipe(out: Path, recipe: Recipe) -> None:
    """Keep what is trained beside it."""
    with atomic(out / RECIPE) as temporary:
        temporary.write_text(json.dumps({"cmrrecon": __version__, **provenance.plain(recipe.as_dict())}, indent=1) + "\n")
