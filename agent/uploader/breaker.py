"""The breaker before the platform: when everything fails, one record asks now and then.

Back-off belongs to the destination first, to the record second: with two thousand records waiting and
no network, a schedule per record alone would make two thousand attempts a round. Pure and frozen; the
uploader stores it, so that a restart loop does not hammer a platform that is down.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from agent.clock import stored_time
from agent.recall import recalled
from agent.uploader import backoff

#: Unknown outcomes in a row before the lane stops: one lost answer is a record's affair.
UNKNOWN_LIMIT = 3
#: The longest Retry-After that is honoured (a day), plus jitter. Beyond it the clock was set back.
LONGEST_WAIT_S = 86400 + backoff.PLATFORM_CAP_S
#: Faults of the way to the platform: any answer from behind it shows that they are over.
WAY = frozenset({"E4101", "E4102", "E4103", "E4104", "E4105", "E4106", "E4107", "E4108", "E4201"})
#: Kept as text.
MOMENTS = ("open_until", "failed_at")


@dataclass(frozen=True)
class Breaker:
    """Closed while `open_until` is None; half-open once that time has passed: one probe at a time."""

    failures: int = 0
    unknowns: int = 0
    open_until: datetime | None = None
    code: str = ""  # why it is open
    failed_at: datetime | None = None  # the last time

    @property
    def closed(self) -> bool:
        """Return whether records may flow freely."""
        return self.open_until is None

    def wait_s(self, now: datetime) -> float:
        """Return seconds until the next probe; a wait that no rule could have made counts as over."""
        if self.open_until is None:
            return 0.0
        wait = (self.open_until - now).total_seconds()
        return 0.0 if wait > LONGEST_WAIT_S else max(0.0, wait)

    def succeeded(self) -> Breaker:
        """Return the breaker after an answer that shows the platform working."""
        return Breaker()

    def unknown(self, now: datetime, code: str, rng: random.Random) -> Breaker:
        """Return the breaker after an answer that was lost or not believable."""
        unknowns = self.unknowns + 1
        if unknowns < UNKNOWN_LIMIT and self.closed:
            return Breaker(self.failures, unknowns, None, "")
        return self.failed(now, code, None, rng)

    def failed(self, now: datetime, code: str, retry_after_s: float | None, rng: random.Random) -> Breaker:
        """Return the breaker after the platform, or our way to it, failed as a whole."""
        failures = self.failures + 1
        if retry_after_s is None:
            wait = backoff.full_jitter(failures, backoff.PLATFORM_CAP_S, rng)
        else:
            wait = backoff.at_least(retry_after_s, failures, backoff.PLATFORM_CAP_S, rng)
        return Breaker(failures, self.unknowns, now + timedelta(seconds=wait), code, now)

    def to_json(self) -> str:
        """Return the stored form."""
        values = asdict(self)
        for name in MOMENTS:
            values[name] = values[name].isoformat() if values[name] else None
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str | None) -> Breaker:
        """Rebuild a stored breaker; nothing, or what cannot be understood, gives a closed one."""
        return recalled(text, cls._rebuilt) or cls()

    @classmethod
    def _rebuilt(cls, text: str) -> Breaker:
        values = json.loads(text)
        moments = {name: values.get(name) for name in MOMENTS}
        return cls(**{**values, **{name: stored_time(at) if at else None for name, at in moments.items()}})
