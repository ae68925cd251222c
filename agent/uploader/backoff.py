"""When to try again: full jitter for records, equal jitter for a platform that asked for patience.

Pure functions of attempt count and a random source. Figures: docs/architecture.md, "Retry".
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

BASE_S = 2.0
#: The platform as a whole: a recovered platform is noticed within a quarter of an hour.
PLATFORM_CAP_S = 15 * 60.0
#: One suspicious record: looked at four times a day until a person looks.
RECORD_CAP_S = 6 * 3600.0
#: 2**12 seconds is beyond every cap; a larger exponent would only risk an overflow.
_MAX_EXPONENT = 12


def full_jitter(failures: int, cap_s: float, rng: random.Random) -> float:
    """Return seconds to wait after `failures` failures in a row: uniform between 0 and the ceiling."""
    return rng.uniform(0.0, ceiling(failures, cap_s))


def at_least(floor_s: float, failures: int, cap_s: float, rng: random.Random) -> float:
    """Return seconds to wait when the platform named a floor (Retry-After): the floor plus jitter."""
    return floor_s + full_jitter(failures, cap_s, rng) / 2


def ceiling(failures: int, cap_s: float) -> float:
    """Return the largest wait after `failures` failures: doubling from BASE_S up to the cap."""
    return float(min(cap_s, BASE_S * 2.0 ** min(max(failures - 1, 0), _MAX_EXPONENT)))


@dataclass(frozen=True)
class Bucket:
    """A token bucket: `rate_s` tokens a second, at most `burst`; frozen, so that tests can step it."""

    rate_s: float
    burst: float
    tokens: float
    at: float  # monotonic seconds

    @classmethod
    def full(cls, rate_s: float, burst: float, now: float) -> Bucket:
        """Return a full bucket."""
        return cls(rate_s, burst, burst, now)

    def refilled(self, now: float) -> Bucket:
        """Return the bucket as it stands at `now`."""
        tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate_s)
        return replace(self, tokens=tokens, at=max(now, self.at))

    def wait_s(self, now: float) -> float:
        """Return the seconds until one token is there; 0.0 when it is."""
        missing = 1.0 - self.refilled(now).tokens
        return max(0.0, missing / self.rate_s)

    def taken(self, now: float) -> Bucket:
        """Return the bucket less one token; it may go into debt, which later waits pay back."""
        filled = self.refilled(now)
        return replace(filled, tokens=filled.tokens - 1.0)
