"""From cosine to the platform's 0..1, and where a comparison passes.

A score says how rare such a similarity is among strangers: 0.60 at a false-accept rate (FAR) of 1e-3, 0.70 at
1e-4, 0.80 at 1e-5, 0.90 at 1e-6, piecewise linear and exactly invertible between. So the same score means the
same with any recogniser whose cosines at these rates are known. It is a similarity, not a probability.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping as Of
from dataclasses import dataclass, field

from agent.config.schema import FACE_THRESHOLD_FLOOR, Face, Onnx

#: FAR -> score.
SCORES = {1e-2: 0.40, 1e-3: 0.60, 1e-4: 0.70, 1e-5: 0.80, 1e-6: 0.90}
#: The rate that a whole verification, all its tries together, is to keep in the general population.
TARGET_FAR = 1e-4
#: Decimals of a shown score; also of the record's.
DECIMALS = 2
#: Undoes binary noise (0.29 * 100 is 28.999...), never a real rounding.
_NOISE = 1e-9

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mapping:
    """One recogniser's scale: `cosines` at each FAR, the cosine that scores 1.0, and where it may pass."""

    name: str  # version of the mapping; kept with every score
    cosines: Of[float, float] = field(repr=False)  # FAR -> cosine
    top: float
    floor: float  # no threshold may be below
    least: float  # nor the default, however few the tries

    def score(self, cosine: float, decimals: int = DECIMALS) -> float:
        """Return the score, rounded down, so that what fails never prints as what passes."""
        factor = float(10**decimals)
        return math.floor(self.exact(cosine) * factor + _NOISE) / factor

    def exact(self, cosine: float) -> float:
        """Return the score unrounded."""
        return _interpolated(cosine, self._anchors())

    def cosine_of(self, exact_score: float) -> float:
        """Return the cosine that maps to a score: the inverse between the scale's ends."""
        return _interpolated(exact_score, tuple((right, left) for left, right in self._anchors()))

    def pass_score(self, threshold: float) -> float:
        """Return the lowest shown score that passes: the threshold's own, rounded up to what can be shown."""
        factor = float(10**DECIMALS)
        return math.ceil(self.exact(threshold) * factor - _NOISE) / factor

    def default_threshold(self, attempts: int) -> float:
        """Return the cosine at which a stranger with that many tries still meets the target, rounded up."""
        by_rarity = tuple(sorted((-math.log10(far), cosine) for far, cosine in self.cosines.items()))
        wanted = _interpolated(-math.log10(TARGET_FAR / attempts), by_rarity)
        return max(self.least, math.ceil(wanted * 100 - _NOISE) / 100)

    def _anchors(self) -> Points:
        known = ((cosine, SCORES[far]) for far, cosine in self.cosines.items())
        return tuple(sorted(((0.0, 0.0), *known, (self.top, 1.0))))


def of_site(cosines: Of[float, float]) -> Mapping:
    """Return the scale of a recogniser that a hospital brings, from the cosines it measured."""
    digest = hashlib.sha256(repr(sorted(cosines.items())).encode()).hexdigest()[:8]
    floor = cosines[1e-3]
    return Mapping(f"site-far-{digest}", cosines, top=1.0, floor=floor, least=floor)


#: SFace, measured on LFW: one live picture against a 102x126 picture. 0.45 and not OpenCV's 0.363: among
#: people of the same origin false accepts are four to fifty times as many.
SFACE = Mapping(
    "sface-far-1",
    {1e-2: 0.29, 1e-3: 0.36, 1e-4: 0.42, 1e-5: 0.47, 1e-6: 0.54},
    top=0.80,
    floor=FACE_THRESHOLD_FLOOR,
    least=0.45,
)


def mapping_of(onnx: Onnx) -> Mapping:
    """Return the scale of a hospital's own recogniser."""
    return of_site(onnx.cosines)


def threshold_of(face: Face) -> float:
    """Return the cosine from which on a comparison passes: the site's, else the engine's for its tries."""
    if face.threshold is not None:
        return face.threshold
    mapping = mapping_of(face.onnx) if face.engine == "onnx" else SFACE
    return mapping.default_threshold(face.attempts)


def _interpolated(value: float, points: Points) -> float:
    if value <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in itertools.pairwise(points):
        if value <= right:
            return low + (value - left) * (high - low) / (right - left)
    return points[-1][1]
