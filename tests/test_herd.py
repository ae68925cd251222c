"""Five thousand agents come back after a day without a platform: no herd. Real breaker, back-off and rates."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest
from hmpt_support import config

from agent.uploader.breaker import Breaker
from agent.uploader.rates import Rates

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
OUTAGE_S = 86400.0
WINDOW_S = 10.0
SETTINGS = config("http://127.0.0.1:1")


def requests_of(seed: int) -> list[float]:
    """Return when one agent sends, in seconds after the platform is back."""
    rng = random.Random(seed)
    backlog = rng.choice((0, 5, 20, 60, 200))
    breaker, at = Breaker(), rng.uniform(0.0, 60.0)  # the outage is noticed with the next card
    while at < OUTAGE_S:
        breaker = breaker.failed(START + timedelta(seconds=at), "E4101", None, rng)
        at += breaker.wait_s(START + timedelta(seconds=at))
    # The probe was a record: it is accepted, the breaker closes, and what waited drains at its rate.
    breaker, sent = breaker.succeeded(), [at - OUTAGE_S]
    rates = Rates.of(SETTINGS, at).taken(at, again=True)
    for _ in range(backlog):
        at += max(rates.wait_s(at), rng.uniform(0.05, 0.3))
        rates = rates.taken(at, again=False)
        sent.append(at - OUTAGE_S)
    return sent


def peak_over_mean(agents: int) -> tuple[float, float]:
    """Return the busiest window over the mean one until 95 % are drained, and the seconds until then."""
    moments = sorted(moment for seed in range(agents) for moment in requests_of(seed))
    until = moments[int(0.95 * len(moments))]
    windows = Counter(int(moment // WINDOW_S) for moment in moments if moment <= until)
    mean = 0.95 * len(moments) * WINDOW_S / until
    return max(windows.values()) / mean, until


def test_a_day_without_a_platform_ends_without_a_herd() -> None:
    ratio, until = peak_over_mean(600)
    # A fifth more than the five thousand are held to: so few make noise of their own.
    assert ratio <= 2.4
    assert 300 < until < 1800


@pytest.mark.soak
def test_five_thousand_agents_after_a_day_without_a_platform() -> None:
    ratio, until = peak_over_mean(5000)
    assert ratio <= 2.0, until
