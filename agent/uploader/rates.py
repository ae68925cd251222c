"""How fast records leave: `drain_per_minute`, and how many of them may be second tries. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.config.schema import Config
from agent.uploader.backoff import Bucket

#: Records that may leave without waiting for the drain rate: today's desk is never slowed by it.
BURST = 5


@dataclass(frozen=True)
class Rates:
    """The two buckets and the configuration they were made for."""

    drain_per_minute: int
    budget_per_hour: int
    pace: Bucket
    retries: Bucket

    @classmethod
    def of(cls, config: Config, now: float) -> Rates:
        """Return full buckets for the configured rates."""
        drain, budget = config.platform.drain_per_minute, config.platform.retry_budget_per_hour
        pace = Bucket.full(drain / 60, BURST, now)
        return cls(drain, budget, pace, Bucket.full(budget / 3600, max(BURST, budget / 6), now))

    def under(self, config: Config, now: float) -> Rates:
        """Return these rates, or fresh ones after the configured rates changed."""
        configured = (config.platform.drain_per_minute, config.platform.retry_budget_per_hour)
        return self if configured == (self.drain_per_minute, self.budget_per_hour) else Rates.of(config, now)

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next record may leave."""
        return max(self.pace.wait_s(now), self.retries.wait_s(now))

    def taken(self, now: float, *, again: bool) -> Rates:
        """Return the rates after a record left."""
        retries = self.retries.taken(now) if again else self.retries
        return replace(self, pace=self.pace.taken(now), retries=retries)
