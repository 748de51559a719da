import pytest
import torch

from cmrrecon.simulation.kinetics import bolus, gamma_variate, left_ventricle, tissue_uptake


def test_bolus_passes_right_heart_then_lung_then_left_heart_then_myocardium():
    times = torch.arange(0, 40, 0.25)
    found = bolus(times)
    peaks = [
        float(times[found[name].argmax()])
        for name in ("right blood", "pulmonary", "left blood", "systemic", "myocardium")
    ]
    assert peaks == sorted(set(peaks))
    assert found["ischaemia"].max() < 0.5 * found["myocardium"].max()
    assert found["myocardium"].max() < 0.5 * found["left blood"].max()
    assert all(
        concentration.min() >= 0 and concentration[0] == 0 for concentration in found.values()
    )


def test_first_pass_peaks_at_the_given_time_and_height():
    times = torch.arange(0, 30, 0.01)
    curve = gamma_variate(times, arrival=5.0, rise=3.0, peak=6.0)
    assert float(times[curve.argmax()]) == pytest.approx(8.0, abs=0.2)
    assert float(curve.max()) == pytest.approx(6.0, rel=0.06)
    assert curve[times < 5].max() == 0


def test_uptake_grows_by_flow_times_supply_and_then_washes_out():
    times = torch.tensor([12.0, 12.5])
    early = tissue_uptake(times, flow=0.01, delay=0.0)
    supply = float(left_ventricle(torch.tensor(12.25)))
    assert float(early.diff()) == pytest.approx(0.01 * 0.5 * supply, rel=0.05)
    late = tissue_uptake(torch.tensor([25.0, 40.0]), flow=0.01, delay=0.0)
    assert late[1] < late[0]
