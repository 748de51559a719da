"""Random scans instead of a store, to train without data; they are used like `dataset.Windows`."""

import torch

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.prepared import normalisation
from cmrrecon.data import CartesianMask
from cmrrecon.networks.sensitivity import calibration_size
from cmrrecon.simulation.random_scans import RandomScan, random_scan
from cmrrecon.tools.errors import NumericalError
from cmrrecon.training.batch import Sample
from cmrrecon.training.dataset import Place
from cmrrecon.training.recipe import Data

# The number of validation scans, and the difference between their seed and the training seed, so
# that none of them is ever trained on.
VALIDATION, VALIDATION_SEED = 32, 2**31
DOMAIN = "simulated"
# A replacement scan has this much larger a number, which no training run reaches.
SPARE = 2**40


def usable_scan(seed: int, number: int) -> RandomScan:
    """Return a random scan, or another one if noise makes its coil maps impossible to estimate."""
    made = random_scan(seed, number)
    try:
        estimate_coils(made.series)
    except NumericalError:
        return usable_scan(seed, number + SPARE)
    return made


class Scenes:
    """Random scans, as whole series; training never uses a scan twice.

    Parameters
    ----------
    data : Data
        The `data` section of the recipe, which sets the number of scans per epoch.
    seed : int
        Determines all random choices.
    fixed : bool
        Whether the scans are for validation, the same in every epoch.
    """

    def __init__(self, data: Data, seed: int, *, fixed: bool = False) -> None:
        self.data, self.fixed = data, fixed
        self.seed = seed + VALIDATION_SEED * fixed
        self.places = [
            Place(number, 0, 0) for number in range(VALIDATION if fixed else data.scenes)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def times(self, place: Place) -> int:
        """Return how often a place is used in an epoch: once."""
        return 1

    def domain(self, place: Place) -> str:
        """Return the domain of a place, which is the same for all."""
        return DOMAIN

    def scan(self, place: Place) -> str:
        """Return the number of the scene of a place."""
        return f"scene {place.scan}"

    def shape(self, place: Place, epoch: int) -> tuple[int, ...]:
        """Return a different value for every scan, so that each is a batch of its own."""
        return (place.scan,)

    def middles(self) -> list[Place]:
        """Return the first place as an example for pictures."""
        return self.places[:1]

    def sample(self, place: Place, epoch: int) -> Sample:
        """Return a whole series; `target` has the shape (frame, y, x') in the scan's columns."""
        number = place.scan if self.fixed else epoch * len(self) + place.scan
        made = usable_scan(self.seed, number)
        scale, mask = normalisation(made.series), made.series.mask
        assert isinstance(mask, CartesianMask)

        target = made.truth[..., made.columns] / scale
        kspace = made.series.kspace / scale

        return Sample(
            kspace=kspace,
            mask=mask.samples,
            acs=calibration_size(mask),
            target=target,
            # The networks that learn on scenes do not predict k-space, so no target is needed.
            target_kspace=torch.zeros(0),
            limit=float(target.amax()),
            domain=DOMAIN,
            name=f"scene {number}: {', '.join(made.kinds)}",
            classes=torch.zeros(0),
            lesion=torch.zeros_like(target[0], dtype=torch.bool),
            columns=made.columns,
        )
