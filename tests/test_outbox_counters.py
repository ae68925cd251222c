"""Rotten bits in the row of counters, which no page check finds: the next start counts the records anew."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from pathlib import Path

import pytest
from outbox_support import PICTURES, HandClock, verification
from state_support import delivered_by, state_settings

from agent.balance import STATES, balance
from agent.outbox import SettleParked, space
from agent.ownership import Ownership, owning
from agent.records import Hold

NAMES = ("expires", "given up", "delivered", "parked", "ready", "held")
COUNTERS = (*STATES, "accepted", "bytes", "expired_delivered", "expired_discarded", "superseded", "moved")
FLIPS: dict[str, Callable[[int], int]] = {
    "lowest bit": lambda number: number ^ 1,
    "bit 40": lambda number: number ^ 1 << 40,
    "sign": lambda number: number - 2**63,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "BALLAST_BYTES", 4096)


def opened(folder: Path, clock: HandClock) -> AbstractContextManager[Ownership]:
    return owning(state_settings(folder), clock)


def lived(folder: Path, clock: HandClock) -> None:
    """Leave a record in every state that lasts, one of each finished kind without a row by now."""
    with opened(folder, clock) as own:
        for at, name in enumerate(NAMES):
            one = verification(name, at=clock.now() + timedelta(seconds=at))
            own.outbox.put(one, PICTURES, person=name, holds={Hold.FIELD: "nation"} if name == "held" else {})
            own.audit.append("record.accepted", who="station", target=name)
        sent(own, clock, "expires")
        give_up(own, "given up")
        clock.seconds += 3600
        own.outbox.upkeep.erase(timedelta(minutes=1))
        assert own.outbox.upkeep.expire(timedelta(minutes=1)) == 2
        sent(own, clock, "delivered")
        claim = own.outbox.claim(clock.now())
        assert claim is not None
        own.outbox.settle(claim, SettleParked("E5101", "refused"))


def sent(own: Ownership, clock: HandClock, name: str) -> None:
    claim = own.outbox.claim(clock.now())
    assert claim is not None
    assert claim.id == name
    delivered_by(own, claim)


def give_up(own: Ownership, name: str) -> None:
    own.outbox.administration.discard(name, "nurse", "twice")
    own.audit.append("record.discarded", who="nurse", target=name)


def ledger(folder: Path) -> dict[str, int]:
    with closing(sqlite3.connect(folder / "outbox.db")) as connection:
        connection.row_factory = sqlite3.Row
        return dict(connection.execute("SELECT * FROM ledger").fetchone())


def flip(folder: Path, counter: str, how: Callable[[int], int]) -> None:
    with closing(sqlite3.connect(folder / "outbox.db")) as connection, connection:
        (number,) = connection.execute(f"SELECT {counter} FROM ledger").fetchone()
        connection.execute(f"UPDATE ledger SET {counter} = ?", (how(number),))


def differs(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "outbox.db")) as connection:
        connection.row_factory = sqlite3.Row
        return balance(connection).difference


@pytest.mark.parametrize("how", FLIPS.values(), ids=FLIPS)
def test_each_counter_that_rots_is_counted_anew(
    tmp_path: Path, how: Callable[[int], int], caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    lived(tmp_path, clock)
    sound = ledger(tmp_path)
    assert (sound["expired_delivered"], sound["expired_discarded"], sound["accepted"]) == (1, 1, 6)
    for counter in COUNTERS:
        if counter in {"superseded", "moved"} and how is FLIPS["lowest bit"]:
            continue  # of those without a row only this counter knows why they were discarded
        flip(tmp_path, counter, how)
        with caplog.at_level(logging.WARNING), opened(tmp_path, clock) as own:
            assert list(own.outbox.recounted) == [counter]
            assert own.outbox.salvaged is None
            assert own.outbox.counts().difference == 0
            assert own.audit.count("record.reconciled") == 0
            own.outbox.accepting()
        assert ledger(tmp_path) == sound
        assert "W3141" in caplog.text
        caplog.clear()
    with opened(tmp_path, clock) as own:
        assert own.outbox.recounted == {}
        assert own.audit.count("outbox.recounted") == len(COUNTERS) - 2 * (how is FLIPS["lowest bit"])
        assert own.audit.count("outbox.missing") == 0


def test_a_wrong_counter_shows_as_long_as_nobody_counts(tmp_path: Path) -> None:
    lived(tmp_path, HandClock())
    flip(tmp_path, "ready", FLIPS["lowest bit"])
    assert differs(tmp_path) == 2
