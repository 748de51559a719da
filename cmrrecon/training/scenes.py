"""Random scans in place of a store: what a network learns from when there are no data. Used as `dataset.Windows` are."""

import torch

from cmrrecon.classical.coils import estimate_coils
from cmrrecon.classical.prepared import normalisation
from cmrrecon.data import CartesianMask
from cmrrecon.networks.sensitivity import calibration_size
from cmrrecon.simulation.random_scans import RandomScan, random_scan
from cmrrecon.tools.errors import NumericalError
from cmrrecon.training.dataset import Place, Sample
from cmrrecon.training.recipe import Data

# Scans of validation, and a seed far from those of training, so that none is ever trained on.
VALIDATION, VALIDATION_SEED = 32, 2**31
DOMAIN = "simulated"
# Far beyond the numbers of any training.
SPARE = 2**40


def usable_scan(seed: int, number: int) -> RandomScan:
    """A random scan, or another one in its place where the coil maps cannot be told from noise."""
    made = random_scan(seed, number)
    try:
        estimate_coils(made.series)
    except NumericalError:
        return usable_scan(seed, number + SPARE)
    return made


class Scenes:
    """So many random scans an epoch, whole series, in training never the same twice.

    Parameters
    ----------
    data : of the recipe
    seed : of everything that is drawn
    fixed : whether they are those of validation, the same in every epoch
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
        """How often a place is seen in an epoch."""
        return 1

    def domain(self, place: Place) -> str:
        """All are of one domain."""
        return DOMAIN

    def shape(self, place: Place) -> tuple[int, ...]:
        """Another one for every scan, so that each is a batch of its own."""
        return (place.scan,)

    def middles(self) -> list[Place]:
        """Examples for pictures: the first one."""
        return self.places[:1]

    def sample(self, place: Place, epoch: int) -> Sample:
        """A whole series; `target` is (frame, y, x') in the columns that are looked at."""
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
            # No network for whole series gives k-space that would be compared with it.
            target_kspace=torch.zeros(()),
            limit=float(target.amax()),
            domain=DOMAIN,
            name=f"scene {number}: {', '.join(made.kinds)}",
            classes=torch.zeros(0),
            lesion=torch.zeros_like(target[0], dtype=torch.bool),
            columns=made.columns,
        )
