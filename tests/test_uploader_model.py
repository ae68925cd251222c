"""The uploader against a platform that fails at random, restarted in between: what the ledger must show.

Everything delivered is in the ledger, nothing is missing in the end, and a record stands there twice only
where an answer was lost - always under its own request id.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from uploader_support import Bench, bench, platform, quick

from agent.simulate.platform import Faults, SimulatedPlatform

#: What may befall a request and leaves a trace in its answer. (`silent` leaves none: nobody could tell.)
BEFALLS = (
    *(
        "cut_request",
        "unauthorized",
        "missing",
        "html",
        "limited",
        "unavailable",
        "error",
        "refuse",
        "system",
    ),
    *("lost_answer", "reset", "truncated", "gateway", "garbage", "empty", "html_after", "huge", "charset"),
    *("bom", "wrong_id", "no_id", "forge", "stale", "unsigned", "undecipherable", "contradict", "duplicate"),
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)


def live(folder: Path, seed: int, records: int) -> None:
    """Put records while the platform fails at random, restart in between, then let it work."""
    rng = random.Random(seed)
    with platform(Faults(retry_after=0)) as there:
        kept: list[str] = []
        for _ in range(2):
            with bench(folder, there.url) as desk:
                for _ in range(records // 2):
                    there.order(*(rng.choice((*BEFALLS, "ok", "ok", "ok", "ok")) for _ in range(2)))
                    kept.append(desk.put())
                desk.until(lambda: _tried(desk, kept))
                check(desk, there, kept)
        with bench(folder, there.url) as desk:
            there.order(*["ok"] * 3)
            desk.until(lambda: _settled(desk), 60)
            # A person looks at what was set aside, and sends it again.
            for record in kept:
                if desk.state(record) == "parked":
                    desk.outbox.administration.retry(record)
            desk.uploader.wake()
            desk.delivered(records, 60)
            check(desk, there, kept)
            assert {line["requestId"] for line in there.accepted()} == set(kept)


def _tried(desk: Bench, kept: list[str]) -> bool:
    return all(desk.outbox.administration.row(record).attempts for record in kept)


def _settled(desk: Bench) -> bool:
    counts = desk.outbox.counts()
    return counts.ready + counts.sending == 0


def check(desk: Bench, there: SimulatedPlatform, kept: list[str]) -> None:
    """Hold outbox and ledger against each other."""
    delivered = {record for record in kept if desk.state(record) == "delivered"}
    ledger = Counter(line["requestId"] for line in there.accepted())
    assert delivered <= set(ledger), "delivered, and not there"
    assert set(ledger) <= set(kept), "somebody else's request id"
    for record, times in ledger.items():
        outcomes = [one.outcome for one in desk.outbox.administration.attempts(record)]
        # The one being sent this moment has no outcome yet, and one that was cut off by the stop is unknown.
        doubtful = sum(outcome in {"unknown", "later", "interrupted", "parked", None} for outcome in outcomes)
        assert times <= doubtful + 1, (record, outcomes)
    assert desk.outbox.counts().difference == 0
    assert desk.outbox.counts().accepted == len(kept)


@pytest.mark.parametrize("seed", range(3))
def test_random_faults_lose_nothing_and_double_only_what_was_in_doubt(tmp_path: Path, seed: int) -> None:
    live(tmp_path, seed, 16)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 160))
def test_random_faults_for_longer(tmp_path: Path, seed: int) -> None:
    live(tmp_path, seed, 40)
