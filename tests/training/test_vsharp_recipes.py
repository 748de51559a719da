"""The recipes of vSHARP at small size, on a simulated cine."""

import pytest
import torch

from cmrrecon.networks.catalog import build
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.simulation import simulate
from cmrrecon.training import recipe
from cmrrecon.training.batch import Batch
from cmrrecon.training.distributed import Group
from cmrrecon.training.objective import Objective

SIZES = {
    "gradient_steps": 2, "filters": 6, "pools": 2, "initialiser_channels": [4, 4],
    "initialiser_dilations": [1, 2], "sensitivity_filters": 4, "sensitivity_pools": 2,
}  # fmt: skip
FRAMES, SIDE = 3, 40


def batch_for(whole):
    """Return all frames at R = 4: a whole series, or a batch of windows."""
    scan = simulate("cine", frames=FRAMES, slices=1, coils=3, y=SIDE, x=SIDE, seed=1).scan
    complete = scan.read_slice(0)
    complete = complete / rss(ifft2c(complete)).max()
    mask = torch.zeros(1, 1, SIDE, 1, dtype=torch.bool)
    mask[:, :, ::4] = mask[:, :, 16:24] = True

    target, measured = rss(ifft2c(complete)), complete * mask[0]
    return Batch(
        kspace=measured[None] if whole else measured[:, None],
        mask=mask if whole else mask.expand(FRAMES, -1, -1, -1),
        acs=8,
        target=target,
        target_kspace=complete,
        limit=target.amax((1, 2)),
        domain="",
        classes=torch.zeros(0),
        lesion=torch.zeros_like(target, dtype=torch.bool),
        columns=slice(None) if whole else None,
    )


@pytest.mark.parametrize(("name", "steps"), [("vsharp", 20), ("vsharp-3d", 12)])
def test_the_loss_falls_and_images_become_better_than_the_input(name, steps):
    torch.manual_seed(0)
    network = build(name, {"cascades": 2, "sizes": SIZES})
    batch, read = batch_for(name == "vsharp-3d"), recipe.load(name)
    objective = Objective(read.losses, torch.device("cpu"), Group())
    optimiser = torch.optim.AdamW(
        network.parameters(), read.optimiser.lr, weight_decay=read.optimiser.weight_decay
    )

    losses = []
    for _ in range(steps):
        loss, log = objective(batch.given_to(network), batch, None)
        losses.append(log["loss"])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), read.optimiser.clip)
        optimiser.step()
    assert losses[-1] < 0.4 * losses[0]

    def error(images):
        return float((images - batch.target).square().sum())

    with torch.no_grad():
        image = batch.given_to(network.eval()).image
    assert error(image) < 0.7 * error(batch.zero_filled())


@pytest.mark.parametrize("name", ["vsharp", "vsharp-3d"])
def test_every_term_of_a_recipe_enters_its_loss(name):
    torch.manual_seed(0)
    network = build(name, {"cascades": 2, "sizes": SIZES})
    batch, losses = batch_for(name == "vsharp-3d"), recipe.load(name).losses
    objective = Objective(losses, torch.device("cpu"), Group())
    output = batch.given_to(network)
    total, log = objective(output, batch, None)

    terms = {"l1", "ssim", "kspace"} | ({"hfen", "volume_ssim"} if name == "vsharp-3d" else set())
    assert set(log) == {*terms, "loss"}
    weighted = sum(getattr(losses, term).weight * log[term] for term in terms)
    assert float(total.detach()) == pytest.approx(weighted, rel=1e-5)

    # L1 in units of the network's scale, of both images, with the weights 0.1 and 1.
    errors = [(image - batch.target).abs().mean((1, 2)) / output.scale for image in output.images]
    expected = 0.1 * errors[0].mean() + errors[1].mean()
    assert log["l1"] == pytest.approx(float(expected.detach()), rel=1e-5)
