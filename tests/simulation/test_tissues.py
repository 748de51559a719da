import math

import pytest
import torch

from cmrrecon.simulation.tissues import (
    TISSUES,
    Layer,
    balanced_ssfp,
    cine_signals,
    inversion_recovery,
    paint,
    saturation_recovery,
    t2_preparation,
)


def test_cine_contrast_is_that_of_balanced_ssfp():
    signals = {name: float(signal) for name, signal in cine_signals().items()}
    assert signals["left blood"] == pytest.approx(1)
    assert 2.5 < signals["left blood"] / signals["myocardium"] < 4
    assert signals["fat"] > 0.6
    assert signals["myocardium"] < signals["liver"] < signals["fat"]
    assert signals["lung"] < 0.1


def test_balanced_ssfp_matches_its_steady_state_by_iteration():
    # Rotate by the flip angle with alternating sign and relax, with TR much shorter than T1 and T2,
    # until the steady state is reached.
    tissue, tr, flip = TISSUES["liver"], 0.05, math.radians(45)
    e1, e2 = math.exp(-tr / tissue.t1), math.exp(-tr / tissue.t2)
    y, z, sign = 0.0, 1.0, 1
    for _ in range(200_000):
        y, z = (
            y * math.cos(sign * flip) + z * math.sin(sign * flip),
            z * math.cos(sign * flip) - y * math.sin(sign * flip),
        )
        after = abs(y)
        y, z, sign = y * e2, 1 + (z - 1) * e1, -sign
    assert tissue.density * after == pytest.approx(balanced_ssfp(tissue), rel=0.01)


def test_inversion_recovery_crosses_zero_at_t1_log_2():
    for name, tissue in TISSUES.items():
        times = torch.tensor([0.0, tissue.t1 * math.log(2), 1e9])
        expected = torch.tensor([-tissue.density, 0.0, tissue.density])
        torch.testing.assert_close(inversion_recovery(times)[name], expected, atol=1e-5, rtol=0)


def test_t2_preparation_decays_by_e_in_one_t2():
    signal = t2_preparation(torch.tensor([0.0, 46.0]))["myocardium"]
    assert float(signal[1] / signal[0]) == pytest.approx(math.exp(-1))


def test_contrast_agent_raises_saturation_recovery_only_where_it_is():
    plain, enhanced = (
        saturation_recovery(100.0, {"left blood": torch.tensor([0.0, rate])})
        for rate in (0.0, 0.02)
    )
    assert enhanced["left blood"][1] > 5 * plain["left blood"][1]
    assert float(plain["left blood"][1]) == pytest.approx(1 - math.exp(-100 / 1800), rel=1e-4)
    assert torch.equal(plain["liver"], enhanced["liver"])


def test_an_edge_pixel_mixes_a_layer_with_what_lies_below():
    def full(tissue, share):
        return Layer(tissue, torch.full((1, 2, 2), share), torch.zeros(1, 2, 2))

    signals = {"fat": torch.tensor([4.0]), "liver": torch.tensor([-2.0, 0.0])}
    assert torch.equal(paint([full("fat", 0.5)], signals), torch.full((1, 2, 2), 2.0))
    both = paint([full("fat", 1.0), full("liver", 0.25)], signals)
    assert both[:, 0, 0].tolist() == [2.5, 3.0]
    assert paint([full("liver", 0.0)], signals, torch.full((1, 2, 2), 7.0)).unique().tolist() == [
        7.0
    ]
