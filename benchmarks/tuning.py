"""Choose the parameters of the peers.

`tune` chooses parameters for all inputs on the tuning cases; `oracle` chooses them on the reported
case itself.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import peers
from records import Record, Records

COARSE, FINE = 2.0, math.sqrt(2)
# Fewer iterations are preferred if they lose less than this in dB, because the peers' time also
# matters.
AS_GOOD = 0.02


def climb(value: Callable[[float], float], start: float, step: float) -> float:
    """Search uphill for a weight start * step**n that is better than both its neighbours."""
    exponent, best = 0, value(start)
    for direction in (1, -1):
        while (found := value(start * step ** (exponent + direction))) > best:
            exponent, best = exponent + direction, found
    return start * step**exponent


def rounded(weight: float) -> float:
    return float(f"{weight:.3g}")


def oracle(records: Records, case: str, engine: str, score: str) -> Record:
    """Return the run with the best-scoring weight on this case."""

    def run(weight: float) -> Record:
        return records.measure(
            case, engine, {**peers.ORACLE_CHOICE[engine], "weight": rounded(weight)}
        )

    def value(weight: float) -> float:
        return float(run(weight)[score])

    return run(climb(value, climb(value, peers.PEERS[engine]["weight"], COARSE), FINE))


def tune(records: Records, names: Sequence[str], engine: str) -> tuple[peers.Options, float, int]:
    """Return the options with the best mean PSNR, this PSNR, and the number of trials.

    The search over weights uses the first number of iterations (and penalty) in `peers.CHOICES`.
    The other settings are tried starting from the best weight.
    """
    tried: dict[str, float] = {}

    def mean_psnr(others: peers.Options, weight: float) -> float:
        options = {**others, "weight": rounded(weight)}
        runs = [records.measure(name, engine, options) for name in names]
        return tried.setdefault(str(options), statistics.mean(run["psnr"] for run in runs))

    found = []
    weight = climb(
        partial(mean_psnr, peers.CHOICES[engine][0]), peers.PEERS[engine]["weight"], COARSE
    )
    for others in peers.CHOICES[engine]:
        weight = rounded(climb(partial(mean_psnr, others), weight, FINE))
        found.append(({**others, "weight": weight}, mean_psnr(others, weight)))
    most = max(psnr for _, psnr in found)
    options, psnr = next((options, psnr) for options, psnr in found if psnr >= most - AS_GOOD)
    return options, psnr, len(tried)
