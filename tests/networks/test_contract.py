"""The contract of `cmrrecon.networks.base`, for networks without an official implementation."""

import functools
import json

import pytest
import torch
from refusals import refused
from torch.nn import functional

from cmrrecon.networks.base import SeriesNetwork, WindowNetwork, build_network
from cmrrecon.networks.catalog import NETWORKS, build, name_of
from cmrrecon.networks.cost import Footprint, footprint
from cmrrecon.networks.e2e_varnet import E2EVarNet
from cmrrecon.networks.fidelity_unet import FidelityUNet
from cmrrecon.networks.lf_mri import LFMRI
from cmrrecon.networks.problem_network import ProblemNetwork
from cmrrecon.networks.prompt_unet import UnetConfig
from cmrrecon.networks.unet import UNet
from cmrrecon.simulation import simulate
from cmrrecon.tools.errors import InputError

SMALL_UNET = UnetConfig(
    features=8, dims=(8, 8, 8), prompt_dims=(2, 2, 2), prompt_lengths=(2, 2, 2),
    prompt_sizes=(4, 4, 4), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1, 1), bottleneck_blocks=1,
)  # fmt: skip
MAKERS = {
    "unet": lambda **more: UNet(**{"channels": 4, "pools": 2, **more}),
    "fidelity_unet": lambda **more: FidelityUNet(
        **{"channels": 4, "pools": 2, "fidelity_channels": 4, **more}
    ),
    "fidelity_unet_closed": lambda **more: FidelityUNet(
        **{"channels": 4, "pools": 2, "fidelity": "closed-form", **more}
    ),
    "lf_mri": lambda **more: LFMRI(
        **{
            "stages": 2, "channels": (4, 8, 8), "classifier_channels": (8, 8), "classes": 2,
            "sensitivity_unet": SMALL_UNET, **more,
        }
    ),
    "e2e_varnet": lambda **more: E2EVarNet(
        **{
            "cascades": 2, "channels": 4, "pools": 2, "sensitivity_channels": 4,
            "sensitivity_pools": 2, **more,
        }
    ),
}  # fmt: skip
WITH_MAPS = ("lf_mri", "e2e_varnet")
NOT_SHARING = ("unet", "fidelity-unet", "promptmr-plus", "sdum")
FROM_IMAGES = [name for name in MAKERS if name not in WITH_MAPS]


@pytest.fixture(params=MAKERS)
def make(request):
    torch.manual_seed(0)
    return MAKERS[request.param]


@functools.cache
def patients(frames, coils, y, x, batch):
    """Simulate k-space (batch, frame, coil, y, x) and the true middle images of patients."""
    simulated = [
        simulate("cine", frames=frames, slices=1, coils=coils, y=y, x=x, seed=seed)
        for seed in range(batch)
    ]
    kspace = torch.stack([s.scan.read_slice(0) for s in simulated])
    return kspace, torch.stack([s.image[frames // 2, 0].abs() for s in simulated])


def windows(frames=1, coils=3, y=37, x=45, batch=2, samples=False):
    """Return undersampled k-space (batch, frame, coil, y, x), its mask and the true middle images.

    The patients of a batch differ, and so do the sample masks of frames.
    """
    kspace, truth = patients(frames, coils, y, x, batch)
    mask = torch.zeros((batch, 1, y, 1), dtype=torch.bool)
    mask[:, :, ::2] = True
    if samples:
        mask = mask | (
            torch.rand((batch, frames, y, x), generator=torch.Generator().manual_seed(0)) < 0.3
        )

    columns = slice(x // 2 - 6, x // 2 + 6) if samples else slice(None)
    mask[:, :, y // 2 - 6 : y // 2 + 6, columns] = True
    return kspace * mask[:, :, None], mask, truth


def run(network, *arguments, **more):
    with torch.no_grad():
        return network(*arguments, **more)


def relative(a, b):
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


@pytest.mark.parametrize(
    "name", [name for name, entry in NETWORKS.items() if not entry.discriminator]
)
def test_every_network_has_one_kind_and_declares_its_abilities(name):
    with torch.device("meta"):
        network = build_network(name)
    assert isinstance(network, ProblemNetwork) == (name == "kt-unrolled")
    assert isinstance(network, SeriesNetwork) == (name in ("kt-unrolled", "vsharp-3d"))
    assert isinstance(network, WindowNetwork) != isinstance(network, SeriesNetwork)
    assert network.can_checkpoint == ("checkpointing" in NETWORKS[name].options())
    assert not network.checkpointing
    assert list(network.convolutions())

    if isinstance(network, WindowNetwork):
        assert network.gives_kspace == (network.sensitivity is not None)
        # Windows of a single frame share nothing.
        assert network.shares_maps == (name not in NOT_SHARING and network.frames > 1)


def test_a_discriminator_reconstructs_nothing():
    with refused("network-kind"):
        build_network("patch-gan")


@pytest.mark.parametrize("lines", [True, False])
def test_the_costs_of_maps_and_windows_add_up(lines):
    network = MAKERS["e2e_varnet"](frames=3)
    size = {"coils": 2, "y": 32, "x": 40, "lines": lines, "acs": 8}
    window, maps = network.window_cost(**size), network.maps_cost(**size)
    shapes = ((1, 3, 2, 32, 40), torch.complex64), ((1, 1, 32, 1 if lines else 40), torch.bool)
    whole = footprint(network.ghost(), *shapes, acs=8)
    assert window.flops + 3 * maps.flops == whole.flops
    assert 0 < maps.nbytes < window.nbytes < whole.nbytes


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_networks_for_magnitudes_accept_no_maps(name):
    kspace, mask, _ = windows()
    network = MAKERS[name]()
    assert network.maps_cost(2, 32, 40, lines=True, acs=8) == Footprint(0, 0)
    with pytest.raises(ValueError, match="maps"):
        run(network, kspace, mask, maps=kspace)


@pytest.mark.parametrize("samples", [False, True], ids=["lines", "samples"])
@pytest.mark.parametrize(("frames", "coils"), [(1, 1), (3, 3), (1, 8)])
def test_shapes(make, frames, coils, samples):
    kspace, mask, _ = windows(frames=frames, coils=coils, samples=samples)
    network = make(frames=frames)
    assert network.frames == frames
    output = run(network, kspace, mask)
    assert output.image.shape == (2, 37, 45)
    assert output.image.dtype == torch.float32
    assert output.image.isfinite().all()

    for coil_wise in (output.kspace, output.maps):
        assert coil_wise is None or (
            coil_wise.shape == (2, coils, 37, 45) and coil_wise.dtype == torch.complex64
        )

    assert (output.kspace is None) == (not network.gives_kspace)
    assert all(image.shape == (2, 37, 45) for image in output.images)
    assert not output.images or output.images[-1] is output.image


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_the_output_scales_with_the_input(make, factor):
    kspace, mask, _ = windows()
    network = make()
    assert (
        relative(
            run(network, kspace * factor, mask).image, factor * run(network, kspace, mask).image
        )
        < 1e-4
    )


def test_windows_without_signal_give_zeros_within_a_batch_too(make):
    kspace, mask, _ = windows()
    kspace[0] = 0
    network = make()
    image = run(network, kspace, mask).image
    assert not image[0].any()
    assert relative(image[1:], run(network, kspace[1:], mask[1:]).image) < 1e-5
    assert image[1].abs().max() > 0


def test_double_precision_agrees_with_single(make):
    kspace, mask, _ = windows()
    network = make()
    single, double = (
        run(network, kspace, mask).image,
        run(network.double(), kspace.to(torch.complex128), mask).image,
    )
    assert double.dtype == torch.float64
    assert relative(single.double(), double) < 1e-3


def test_unets_may_run_in_lower_precision(make):
    """Hooks convert the inputs, as a caller would."""
    kspace, mask, _ = windows()
    network = make()
    full = run(network, kspace, mask).image

    def lower(module, inputs):
        return tuple(x.to(torch.bfloat16) if isinstance(x, torch.Tensor) else x for x in inputs)

    lowered = list(network.convolutions())
    for module in lowered:
        module.to(torch.bfloat16).register_forward_pre_hook(lower)
    low = run(network, kspace, mask).image
    assert lowered
    assert low.dtype == torch.float32
    assert 0 < relative(low, full) < 0.05


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "e2e_varnet"])
def test_only_the_middle_frame_is_used(name):
    """With the same weights, a window of equal frames gives the image of a single frame."""
    kspace, mask, _ = windows()
    network, wide = MAKERS[name](), MAKERS[name](frames=3)
    wide.load_state_dict(network.state_dict())
    assert (
        relative(
            run(wide, kspace.expand(-1, 3, -1, -1, -1), mask).image,
            run(network, kspace, mask).image,
        )
        < 1e-5
    )


def test_the_number_of_calibration_lines_can_be_given(make):
    kspace, mask, _ = windows()
    network = make()
    # The mask has 13 central lines, of which 12 are symmetric about the centre.
    found, given, fewer = (run(network, kspace, mask, acs).image for acs in (None, 12, 6))
    assert relative(given, found) < 0.05
    assert relative(fewer, found) > 1e-6


def test_config_and_state_restore_the_same_network(make):
    kspace, mask, _ = windows(batch=1)
    network = make()
    kept = json.dumps(network.config)
    again = build(name_of(network), json.loads(kept))
    assert json.dumps(again.config) == kept
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(
        run(again, kspace, mask).image, run(network, kspace, mask).image, rtol=0, atol=0
    )


def loss_of(network, output, truth):
    loss = sum(
        (functional.mse_loss(image, truth) for image in output.images),
        functional.mse_loss(output.image, truth),
    )
    if isinstance(network, LFMRI):
        loss = loss + 1e-3 * functional.binary_cross_entropy_with_logits(
            output.logits, torch.tensor([[1.0, 0.0]] * len(truth))
        )
    return loss


def test_gradients_reach_every_parameter(make):
    kspace, mask, truth = windows()
    network = make()
    loss_of(network, network(kspace, mask), truth).backward()
    for name, parameter in network.named_parameters():
        # E2E-VarNet starts from the measured k-space, so its first data consistency step is zero.
        if parameter.requires_grad and name != "cascades.0.dc_weight":
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_training_lowers_the_loss(make):
    kspace, mask, truth = windows(batch=1)
    network = make()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []

    for _ in range(8):
        loss = loss_of(network, network(kspace, mask), truth)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", WITH_MAPS)
def test_maps_can_be_given(name):
    kspace, mask, _ = windows(frames=3)
    network = MAKERS[name](frames=3)
    with torch.no_grad():
        maps, one_by_one = (
            network.sens_net(kspace, mask),
            network.sens_net(kspace, mask, together=1),
        )

    torch.testing.assert_close(one_by_one, maps, rtol=0, atol=1e-5)
    assert (
        relative(run(network, kspace, mask, maps=maps).image, run(network, kspace, mask).image)
        < 1e-5
    )
    assert (
        relative(
            run(network, kspace, mask, maps=maps.roll(1, 2)).image, run(network, kspace, mask).image
        )
        > 1e-2
    )
    torch.testing.assert_close(maps.abs().square().sum(2), torch.ones(2, 3, 37, 45))


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_too_few_calibration_lines_are_refused(name):
    kspace, mask, _ = windows()
    with pytest.raises(InputError):
        run(MAKERS[name](), kspace, mask, acs=2)


def test_a_wrong_window_is_refused(make):
    kspace, mask, _ = windows(frames=3)
    with refused("window-width"):
        run(make(), kspace, mask)
