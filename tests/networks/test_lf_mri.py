import pytest
import torch
from refusals import refused
from torch import nn

from cmrrecon.networks.learnable_sampling import LearnableSampling
from cmrrecon.networks.lf_mri import LFMRI, Classifier, Denoiser, Stage, class_activation
from cmrrecon.networks.prompt_unet import UnetConfig
from cmrrecon.networks.promptmr import combine
from cmrrecon.operators.fourier import fft2c, fftc, ifft2c

SMALL_UNET = UnetConfig(
    features=8, dims=(8, 8, 8), prompt_dims=(2, 2, 2), prompt_lengths=(2, 2, 2),
    prompt_sizes=(4, 4, 4), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1, 1), bottleneck_blocks=1,
)  # fmt: skip


def random(*shape, dtype=torch.complex128, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def set_to_identity(denoiser):
    nn.init.zeros_(denoiser.unet.last.weight)
    nn.init.zeros_(denoiser.unet.last.bias)


@pytest.fixture
def problem():
    """Return x, x0, mask, maps and measured k-space in double precision."""
    maps = random(1, 1, 3, 20, 26, seed=1)
    maps = maps / torch.linalg.vector_norm(maps, dim=2, keepdim=True)
    mask = torch.rand(1, 1, 1, 1, 26, generator=torch.Generator().manual_seed(2)) < 0.5
    measured = random(1, 1, 3, 20, 26, seed=3) * mask
    return random(1, 1, 20, 26), combine(ifft2c(measured), maps), mask, maps, measured


def test_a_stage_with_identity_networks_is_a_gradient_step(problem):
    x, x0, mask, maps, measured = problem
    stage, classifier = Stage((4, 8)).double(), Classifier((8, 8), 1).double()
    for denoiser in (stage.denoiser, stage.lesion):
        set_to_identity(denoiser)

    for parameter, value in ((stage.rho, 1.0), (stage.mu1, 0.0), (stage.mu2, 0.0)):
        nn.init.constant_(parameter, value)
    variable = x.clone().requires_grad_()
    residual = fft2c(variable[:, :, None] * maps) * mask - measured
    (0.5 * residual.abs().square().sum()).backward()
    stepped, _, _ = stage(x, x0, mask, maps, classifier)
    torch.testing.assert_close(stepped, x - variable.grad)


def test_a_stage_adds_both_regularisations(problem):
    """With D = identity the first one vanishes; with G = identity too the second is -mu2 C C X."""
    x, x0, mask, maps, _ = problem
    stage, classifier = Stage((4, 8)).double(), Classifier((8, 8), 1).double()
    nn.init.ones_(classifier.head.weight)
    for denoiser in (stage.denoiser, stage.lesion):
        set_to_identity(denoiser)

    with torch.no_grad():
        stepped, logits, attention = stage(x, x0, mask, maps, classifier)
        nn.init.zeros_(stage.mu2)
        without, _, _ = stage(x, x0, mask, maps, classifier)

    assert logits.shape == (1, 1)
    assert attention.shape == x.shape
    assert float(attention.max()) > 0.5
    torch.testing.assert_close(stepped - without, 0.1 * 0.1 * attention.square() * x)

    with torch.no_grad():
        nn.init.constant_(stage.denoiser.unet.last.bias, 0.5)
        shifted, _, _ = stage(x, x0, mask, maps, classifier)
    torch.testing.assert_close(shifted - without, torch.full_like(x, 0.1 * 0.1 * (0.5 + 0.5j)))


def test_class_activation_of_given_features_and_weights():
    """Each of two channels has one spot.

    Weights 1 and -1 leave the first spot. Weights 1 and 0.5 show both, the second half as bright.
    """
    features = torch.zeros(2, 2, 4, 5)
    features[:, 0, 1, 1] = 3
    features[:, 1, 2, 3] = 3
    activation = class_activation(features, torch.tensor([[1.0, -1.0], [1.0, 0.5]]))
    expected = torch.zeros(2, 1, 4, 5)
    expected[:, 0, 1, 1] = 1
    expected[1, 0, 2, 3] = 0.5
    torch.testing.assert_close(activation, expected)


def test_without_evidence_attention_is_zero():
    assert not class_activation(torch.rand(1, 3, 4, 5), -torch.ones(1, 3)).any()
    assert not class_activation(torch.ones(1, 3, 4, 5), torch.ones(1, 3)).any()


def test_the_classifier_maps_the_likeliest_class():
    torch.manual_seed(0)
    classifier = Classifier((8, 16), 3)
    magnitude = torch.rand(2, 1, 33, 50)
    with torch.no_grad():
        for chosen in range(3):
            nn.init.zeros_(classifier.head.bias)
            classifier.head.bias[chosen] = 1e3
            logits, attention = classifier(magnitude)
            features = classifier.body(magnitude)
            small = class_activation(features, classifier.head.weight[[chosen, chosen]])
            assert logits.argmax(1).tolist() == [chosen, chosen]
            torch.testing.assert_close(
                attention, nn.functional.interpolate(small, (33, 50), mode="bilinear")
            )
            assert attention.shape == magnitude.shape
            assert float(attention.min()) >= 0
            assert float(attention.max()) <= 1


def test_the_denoiser_has_two_convolutions_per_scale():
    denoiser = Denoiser((32, 64, 128))
    widths = [
        (c.in_channels, c.out_channels) for c in denoiser.modules() if isinstance(c, nn.Conv2d)
    ]
    assert widths == [
        (2, 32),
        (32, 32),
        (32, 64),
        (64, 64),
        (64, 128),
        (128, 128),
        (192, 64),
        (64, 64),
        (96, 32),
        (32, 32),
        (32, 2),
    ]
    assert all(
        norm.eps == 1e-6 for norm in denoiser.modules() if isinstance(norm, nn.InstanceNorm2d)
    )
    x = random(2, 1, 21, 30, dtype=torch.complex64)

    with torch.no_grad():
        assert not torch.equal(denoiser(x), x)
        set_to_identity(denoiser)
        assert torch.equal(denoiser(x), x)


def test_initial_weights():
    network = LFMRI(channels=(4, 4), classifier_channels=(8,), sensitivity_unet=SMALL_UNET)
    assert len(network.stages) == 6
    for stage in network.stages:
        assert [w.item() for w in (stage.rho, stage.mu1, stage.mu2)] == pytest.approx([0.1] * 3)


def test_zero_stages_are_refused():
    with refused("option-value"):
        LFMRI(stages=0)


def test_output_has_logits_attention_and_every_stage():
    torch.manual_seed(0)
    network = LFMRI(
        stages=3, channels=(4, 4), classifier_channels=(8,), classes=2, sensitivity_unet=SMALL_UNET
    )
    kspace, mask = (
        random(2, 1, 3, 33, 40, dtype=torch.complex64),
        torch.ones(2, 1, 33, 1, dtype=torch.bool),
    )

    with torch.no_grad():
        output = network(kspace, mask, acs=12)
    assert output.logits.shape == (2, 2)
    assert output.attention.shape == (2, 33, 40)
    assert len(output.images) == 3
    torch.testing.assert_close(torch.linalg.vector_norm(ifft2c(output.kspace), dim=1), output.image)


@pytest.mark.parametrize("length", [20, 21])
def test_with_all_lines_the_sampling_is_the_fourier_transform(length):
    sampling = LearnableSampling(length=length, lines=length).double()
    images = random(3, length, 26)
    torch.testing.assert_close(sampling(images), fft2c(images), rtol=0, atol=1e-5)
    torch.testing.assert_close(sampling.adjoint(sampling(images)), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("length", "lines"), [(20, 7), (21, 30)])
def test_the_adjoint_of_the_learnable_sampling(length, lines):
    sampling = LearnableSampling(length=length, lines=lines).double()
    with torch.no_grad():
        sampling.positions += (
            0.03 * torch.randn(lines, generator=torch.Generator().manual_seed(0)).double()
        )
        image, kspace = random(3, length, 13), random(3, lines, 13, seed=1)
        torch.testing.assert_close(
            torch.vdot(kspace.flatten(), sampling(image).flatten()),
            torch.vdot(sampling.adjoint(kspace).flatten(), image.flatten()),
        )


def test_gradients_reach_the_positions():
    """Between grid lines the gradient agrees with finite differences."""
    sampling, image, weights = (
        LearnableSampling(length=20, lines=5).double(),
        random(1, 20, 8),
        random(1, 5, 8, seed=1),
    )

    def loss():
        return (sampling(image) * weights).real.sum()

    loss().backward()
    analytic = sampling.positions.grad.clone()
    for line in range(5):
        ends = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                sampling.positions[line] += step
                ends.append(float(loss()))
        with torch.no_grad():
            sampling.positions[line] += 1e-6
        assert float(analytic[line]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_positions_converge_to_the_measured_lines():
    """Gradient descent on the positions alone approaches slightly shifted measured lines."""
    image = fftc(random(1, 20, 8, dtype=torch.complex64), 1)
    sampling, measured = (
        LearnableSampling(length=20, lines=5),
        LearnableSampling(length=20, lines=5),
    )

    with torch.no_grad():
        measured.positions += 0.004
        target = measured(image)
    optimiser = torch.optim.Adam(sampling.parameters(), lr=5e-4)
    losses = []

    for _ in range(15):
        loss = (sampling(image) - target).abs().square().mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    assert losses[-1] < 0.1 * losses[0]
