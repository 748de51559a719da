"""SDUM compared with its official program."""

import pytest
import torch
from golden_sdum import arrays_of, complex_of, facts_of, labels_of, weights_of

from cmrrecon.networks.sdum import SDUM
from cmrrecon.networks.sdum_labels import ALL_MODALITIES, codes
from cmrrecon.networks.sdum_maps import calibration_box

CASES = (
    "flow_line_even", "flow_one_frame", "flow_radial_odd", "flow_gaussian_batch2", "plain_line_odd",
    "plain_radial_even",
)  # fmt: skip


def network_of(folder, config=None):
    """Return the network of a case with its golden weights."""
    config = config or facts_of(folder)
    weights = {key.removeprefix("recon_model."): value for key, value in weights_of(folder).items()}
    official = config["config"]
    network = SDUM(
        cascades=official["num_cascades"],
        frames=official["num_frames"],
        channels=official["channels"],
        blocks=official["num_blocks"],
        heads=official["num_heads"],
        refinement=official["num_refinement"],
        ratio=official["mlp_ratio"],
        map_features=config["csm_features"],
        map_size=config["dc_map_size"],
        conditioned=official["flow"],
        modalities=official.get("acq_types", ALL_MODALITIES),
    )
    network.load_state_dict(weights)
    return network.eval()


def unrolled(network, arrays, labels):
    with torch.no_grad():
        images, mask = complex_of(arrays["input"]), arrays["mask"]
        return network.unrolled(
            images, mask, calibration_box(mask), [codes(labels, network.modalities)]
        )


def distance(a, b):
    """Return the largest difference relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_coil_images_agree_with_the_official_ones(golden, case):
    folder = golden / "sdum" / case
    arrays, facts = arrays_of(folder), facts_of(folder)
    network = network_of(folder)
    result = unrolled(network, arrays, labels_of(facts["labels"]))
    assert distance(result, complex_of(arrays["output"])) <= 1e-5
