"""Classification with partly unknown labels, and the error inside boxes."""

import math

import pytest
import torch

from cmrrecon.losses.lesion import classification_loss, lesion_loss
from cmrrecon.losses.ssim import l1_loss

UNKNOWN = math.nan


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_classification_is_the_cross_entropy_of_known_labels():
    logits = torch.tensor([[0.0, 2.0], [math.log(3), 5.0]])
    present = torch.tensor([[1.0, UNKNOWN], [0.0, UNKNOWN]])
    # -log(1/2) and -log(1 - 3/4)
    assert classification_loss(logits, present).item() == pytest.approx(
        (math.log(2) + math.log(4)) / 2
    )
    assert classification_loss(
        torch.tensor([[50.0, -50.0]]), torch.tensor([[1.0, 0.0]])
    ).item() == pytest.approx(0, abs=1e-6)
    assert classification_loss(
        torch.tensor([[-50.0]]), torch.tensor([[1.0]])
    ).item() == pytest.approx(50)


def test_unknown_labels_have_no_influence():
    logits = torch.tensor([[0.3], [-0.7], [40.0]], requires_grad=True)
    labelled = classification_loss(logits[:2], torch.tensor([[1.0], [1.0]]))
    together = classification_loss(logits, torch.tensor([[1.0], [1.0], [UNKNOWN]]))
    assert together.item() == pytest.approx(labelled.item())
    together.backward()
    assert logits.grad[2] == 0
    assert (logits.grad[:2] < 0).all()


def test_without_known_labels_loss_and_gradient_are_zero():
    logits = torch.ones(2, 3, requires_grad=True)
    loss = classification_loss(logits, torch.full((2, 3), UNKNOWN))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 3))


def test_only_errors_inside_boxes_count():
    target, lesion = torch.full((2, 6, 8), 2.0), torch.zeros(2, 6, 8, dtype=torch.bool)
    lesion[0, 1:3, 2:6] = True
    image = (target + torch.where(lesion, 0.5, 100.0)).requires_grad_()
    loss = lesion_loss(image, target, lesion)
    assert loss.item() == pytest.approx(0.25)
    loss.backward()
    assert torch.equal(image.grad != 0, lesion)
    assert torch.isfinite(image.grad).all()


def test_with_a_box_around_everything_the_loss_is_l1():
    image, target = rand(2, 6, 8), rand(2, 6, 8, seed=1)
    everything = torch.ones(2, 6, 8, dtype=torch.bool)
    assert lesion_loss(image, target, everything).item() == pytest.approx(
        l1_loss(image, target).item(), rel=1e-6
    )
    assert lesion_loss(1e-6 * image, 1e-6 * target, everything).item() == pytest.approx(
        l1_loss(image, target).item(), rel=1e-4
    )


def test_without_a_box_the_loss_is_zero_and_empty_images_are_finite():
    image = rand(1, 6, 8).requires_grad_()
    loss = lesion_loss(image, rand(1, 6, 8, seed=1), torch.zeros(1, 6, 8, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(image.grad, torch.zeros(1, 6, 8))
    assert lesion_loss(
        image, torch.zeros(1, 6, 8), torch.ones(1, 6, 8, dtype=torch.bool)
    ).isfinite()
