"""From cosines of pairs to error rates one can defend: counts, intervals, thresholds. Pure.

Cosines are kept as counts in 1e-4 steps, as finely as a verdict is rounded: ninety million pairs of strangers
take 160 KB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STEPS = 20_001  # cosines from -1 to 1
#: 95 %.
Z = 1.959964


def empty() -> NDArray[np.int64]:
    """Return counts of nothing yet."""
    return np.zeros(STEPS, np.int64)


def add(counts: NDArray[np.int64], cosines: NDArray[np.float32]) -> None:
    """Count cosines, of any shape."""
    bins = np.rint((np.clip(cosines, -1, 1).ravel().astype(np.float64) + 1) * 10_000).astype(np.int64)
    counts += np.bincount(bins, minlength=STEPS)


def cosine_at(step: int) -> float:
    """Return the cosine that a step stands for."""
    return round(step / 10_000 - 1, 4)


@dataclass(frozen=True)
class Rate:
    """Some of many, with its 95 % Wilson interval (Wilson 1927): it holds for small counts, and for none."""

    events: int
    trials: int

    @property
    def value(self) -> float | None:
        """Return the share, None of nothing."""
        return self.events / self.trials if self.trials else None

    @property
    def interval(self) -> tuple[float, float]:
        """Return where the true rate lies; 0..1 of nothing."""
        if not self.trials:
            return 0.0, 1.0
        share, n = self.events / self.trials, self.trials
        middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
        half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
        low = 0.0 if self.events == 0 else max(0.0, middle - half)
        return low, 1.0 if self.events == n else min(1.0, middle + half)


@dataclass(frozen=True)
class Row:
    """One threshold: false accepts among strangers, false rejects among the same person's pairs."""

    threshold: float
    far: Rate
    frr: Rate


@dataclass(frozen=True)
class Evaluation:
    """Counts of cosines of pairs of one person and of strangers."""

    genuine: NDArray[np.int64] = field(repr=False)
    impostor: NDArray[np.int64] = field(repr=False)

    def at(self, threshold: float) -> Row:
        """Return the error rates where a cosine of `threshold` and above passes."""
        step = max(0, min(STEPS, math.ceil(round((threshold + 1) * 10_000, 6))))
        far = Rate(int(self.impostor[step:].sum()), int(self.impostor.sum()))
        return Row(threshold, far, Rate(int(self.genuine[:step].sum()), int(self.genuine.sum())))

    def threshold_for(self, far: float) -> float | None:
        """Return the lowest threshold whose false-accept rate is at most `far` with 95 % certainty.

        None where there are too few pairs of strangers to show such a rate, whatever the threshold.
        """
        total = int(self.impostor.sum())
        accepted = np.concatenate([np.cumsum(self.impostor[::-1])[::-1], [0]])
        for step in range(STEPS + 1):
            if Rate(int(accepted[step]), total).interval[1] <= far:
                return cosine_at(step)
        return None

    def equal_error(self) -> Row:
        """Return the row where both errors are nearest to each other."""
        rejected = np.cumsum(self.genuine) / max(int(self.genuine.sum()), 1)
        accepted = np.cumsum(self.impostor[::-1])[::-1] / max(int(self.impostor.sum()), 1)
        # At step s everything below s is rejected.
        nearest = int(np.argmin(np.abs(np.concatenate([[0.0], rejected[:-1]]) - accepted)))
        return self.at(cosine_at(nearest))

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return false-accept and true-accept rates at every threshold, from strict to lenient."""
        accepted = np.cumsum(self.impostor[::-1]) / max(int(self.impostor.sum()), 1)
        passed = np.cumsum(self.genuine[::-1]) / max(int(self.genuine.sum()), 1)
        return accepted, passed
