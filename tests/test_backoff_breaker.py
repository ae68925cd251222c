"""When to try again: bounds, growth, persistence."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uploader import backoff
from agent.uploader.backoff import Bucket
from agent.uploader.breaker import LONGEST_WAIT_S, UNKNOWN_LIMIT, Breaker

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=timezone.utc)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1), timezones=st.just(timezone.utc))  # noqa: DTZ001


@given(st.integers(0, 10**6), st.integers(0, 2**32))
def test_full_jitter_stays_below_its_cap(failures: int, seed: int) -> None:
    wait = backoff.full_jitter(failures, backoff.PLATFORM_CAP_S, random.Random(seed))
    assert 0 <= wait <= backoff.PLATFORM_CAP_S


def test_the_ceiling_doubles_until_the_cap() -> None:
    assert [backoff.ceiling(n, 60.0) for n in range(1, 8)] == [2, 4, 8, 16, 32, 60, 60]


@given(st.floats(1, 86400), st.integers(1, 50), st.integers(0, 2**32))
def test_retry_after_is_a_lower_bound(floor: float, failures: int, seed: int) -> None:
    assert backoff.at_least(floor, failures, backoff.PLATFORM_CAP_S, random.Random(seed)) >= floor


@given(st.lists(st.floats(0, 100), max_size=60))
def test_a_bucket_never_lets_more_through_than_rate_and_burst(pauses: list[float]) -> None:
    bucket, now, taken = Bucket.full(0.5, 5, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        if bucket.wait_s(now) <= 0:
            bucket = bucket.taken(now)
            taken += 1
    assert taken <= 5 + 0.5 * now + 1e-6


def test_a_bucket_says_exactly_when_the_next_token_is_there() -> None:
    bucket = Bucket.full(2.0, 1, 0.0).taken(0.0)
    assert bucket.wait_s(0.0) == pytest.approx(0.5)
    assert bucket.wait_s(0.5) == pytest.approx(0.0)


@given(moments, st.integers(1, 40), st.one_of(st.none(), st.floats(1, 86400)), st.integers(0, 2**32))
def test_a_failing_platform_opens_the_breaker_within_bounds(
    now: datetime, times: int, retry_after: float | None, seed: int
) -> None:
    breaker, rng = Breaker(), random.Random(seed)
    for _ in range(times):
        breaker = breaker.failed(now, "E4101", retry_after, rng)
    assert breaker.open_until is not None
    assert (retry_after or 0) <= (breaker.open_until - now).total_seconds() + 1e-6
    assert breaker.wait_s(now) <= LONGEST_WAIT_S
    assert Breaker.from_json(breaker.to_json()) == breaker
    assert breaker.succeeded().closed


def test_one_lost_answer_does_not_stop_the_lane_but_three_do() -> None:
    breaker, rng = Breaker(), random.Random(1)
    for _ in range(UNKNOWN_LIMIT - 1):
        breaker = breaker.unknown(NOW, "E5001", rng)
        assert breaker.closed
    assert not breaker.unknown(NOW, "E5001", rng).closed


def test_a_clock_set_back_by_years_does_not_keep_the_breaker_open() -> None:
    breaker = Breaker().failed(NOW, "E4101", None, random.Random(3))
    assert breaker.wait_s(NOW - timedelta(days=3650)) == 0.0
