"""Make the weights that come with the package.

They are stored in half precision, with their facts and the range of the training data.

python docs/experiments/ship.py RUN/best.safetensors cmrrecon/pretrained/kt-unrolled.safetensors
"""

import argparse
import json
import math
from pathlib import Path

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.networks.checkpoints import weights
from cmrrecon.reconstruction.trust import ENVELOPE, facts_of
from cmrrecon.simulation.random_scans import random_scan

# How many training scans to draw, and which share of them lies inside the envelope.
SCANS, INSIDE = 200, 0.98
DATA = "random scans of cmrrecon.simulation.random_scans alone: no measured data and no pictures"
USE = "research use, not for diagnosis"


def main() -> None:
    """Write the shipped checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    asked = parser.parse_args()
    ship(asked.checkpoint, asked.target)


def ship(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint with its facts; the envelope is that of the masks drawn at present."""
    loaded = weights.load(checkpoint)
    seed = json.loads(loaded.metadata["recipe"])["schedule"]["seed"]
    found: dict[str, list[float]] = {}
    for number in range(SCANS):
        for name, value in facts_of(PreparedSeries(random_scan(seed, number).series)).items():
            if math.isfinite(value):  # noise-free scans have no finite signal over noise
                found.setdefault(name, []).append(value)
    envelope = {}
    for name, values in found.items():
        cut = round((1 - INSIDE) / 2 * len(values))
        envelope[name] = sorted(values)[cut], sorted(values)[-1 - cut]

    kept = {
        key: value
        for key, value in loaded.metadata.items()
        if key not in ("network", "config", "cmrrecon")
    }
    facts = {
        "training_data": DATA,
        "use": USE,
        "licence": "Apache-2.0",
        ENVELOPE: envelope,
        "card": "kt-unrolled.md",
    }
    weights.save(target, loaded.network.half(), {**kept, **facts})
    print(f"{target}: {target.stat().st_size / 2**20:.2f} MiB, trained on {envelope}")


if __name__ == "__main__":
    main()
