"""From cosine to the platform's 0..1, and where a comparison passes.

The mapping is anchored at false-accept rates measured on LFW (one live picture against a 102x126
picture): piecewise linear, monotone, exactly invertible. It is a similarity, not a probability.
"""

from __future__ import annotations

import itertools
import math

#: Version of the mapping; kept with every score.
MAPPING = "sface-far-1"
#: (cosine, score): FAR 1e-2 at 0.29, 1e-3 at 0.36, 1e-4 at 0.42, 1e-5 at 0.47, 1e-6 at 0.54.
ANCHORS = ((0.0, 0.0), (0.29, 0.40), (0.36, 0.60), (0.42, 0.70), (0.47, 0.80), (0.54, 0.90), (0.80, 1.0))
#: Above OpenCV's 0.363: among people of the same origin false accepts are four to fifty times as many.
DEFAULT_THRESHOLD = 0.45


def score(cosine: float, decimals: int = 2) -> float:
    """Return the score, rounded down, so that what fails never prints as what passes."""
    exact = _interpolated(cosine, ANCHORS)
    factor = float(10**decimals)
    # The tiny addend undoes binary noise (0.29 * 100 is 28.999...), never a real rounding.
    return math.floor(exact * factor + 1e-9) / factor


def cosine_of(exact_score: float) -> float:
    """Return the cosine that maps to a score: the mapping's inverse between its ends."""
    return _interpolated(exact_score, tuple((right, left) for left, right in ANCHORS))


def _interpolated(value: float, points: tuple[tuple[float, float], ...]) -> float:
    if value <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in itertools.pairwise(points):
        if value <= right:
            return low + (value - left) * (high - low) / (right - left)
    return points[-1][1]
