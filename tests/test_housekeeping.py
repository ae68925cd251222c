"""The loop nobody notices: room, retention, rot, each told once, and nothing taken that is still needed."""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hmpt_support import config
from outbox_support import PICTURES, HandClock, damage_body, receipt, verification

from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import Memory, TrustedClock
from agent.heartbeat import Heartbeat
from agent.housekeeping import Housekeeping
from agent.outbox import Outbox, SettleDelivered, space
from agent.ownership import Ownership, owning


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "BALLAST_BYTES", 2**20)
    monkeypatch.setattr(space, "RESERVE_BYTES", 2**20)


class House:
    """A state directory with its keeper, on a clock that moves when told."""

    def __init__(self, own: Ownership, clock: HandClock, settings: Any) -> None:
        self.synchronised = True
        time = TrustedClock(
            clock, Memory(lambda: None, lambda: None, lambda _: None), lambda: self.synchronised
        )
        self.own, self.clock = replace(own, time=time), clock
        self.board = Board(clock)
        self.keeper = Housekeeping(lambda: settings, self.own, self.board)

    @property
    def outbox(self) -> Outbox:
        return self.own.outbox

    def put(self, count: int = 1) -> list[str]:
        made = [verification(at=self.clock.now()) for _ in range(count)]
        for one in made:
            self.outbox.put(one, PICTURES, person=one.id, holds={})
        return [one.id for one in made]

    def deliver(self) -> None:
        while (claim := self.outbox.claim(self.clock.now())) is not None:
            self.outbox.note_attempt(
                claim,
                request_id=claim.id,
                conventions_fingerprint="f",
                conventions_json="{}",
                sm3_hex="00",
                length=1,
            )
            self.outbox.settle(claim, SettleDelivered(receipt(claim.id)))

    def codes(self) -> list[str]:
        return [event.code for event in self.board.events()]

    def topic(self) -> dict[str, Any]:
        return self.board.snapshot()["outbox"]


@contextmanager
def house(folder: Path) -> Iterator[House]:
    settings = config("http://127.0.0.1:1").model_copy(update={"state_dir": str(folder / "state")})
    clock = HandClock()
    with owning(settings, clock) as own:
        yield House(own, clock, settings)


def test_each_step_towards_full_is_told_once_and_its_end_is_seen(tmp_path: Path) -> None:
    with house(tmp_path) as one:
        one.put(20)
        used = one.outbox.room().used
        for share, code in ((0.5, None), (0.72, "W3116"), (0.86, "W3117"), (0.96, "E3118"), (0.5, None)):
            one.outbox._max_bytes = int(used / share)
            for _ in range(3):
                one.keeper.round()
            assert one.topic()["code"] == code
            assert one.topic()["state"] == ("ok" if code is None else "attention")
        assert one.codes() == ["W3116", "W3117", "E3118"]
        one.outbox._max_bytes = used
        with pytest.raises(AgentError, match="E3101"):
            one.outbox.accepting()


def test_the_ballast_stands_from_the_first_round_and_again_after_it_was_needed(tmp_path: Path) -> None:
    with house(tmp_path) as one:
        assert not (tmp_path / "state" / "ballast").exists()
        one.keeper.round()
        assert (tmp_path / "state" / "ballast").stat().st_blocks * 512 >= 2**20, "really written"
        assert one.own.ballast.give_up()
        assert not one.own.ballast.give_up(), "there is only one"
        one.keeper.round()
        assert one.own.ballast.stands()
        assert not list((tmp_path / "state").glob("*.new"))


def test_personal_data_goes_after_a_day_and_receipts_after_their_time(tmp_path: Path) -> None:
    with house(tmp_path) as one:
        (waiting,) = one.put()
        claim = one.outbox.claim(one.clock.now())
        assert claim is not None
        delivered = one.put(3)
        one.deliver()
        one.outbox.return_abandoned()
        one.keeper.round()
        one.clock.seconds += timedelta(hours=23).total_seconds()
        one.keeper.round()
        assert one.outbox.picture_kinds(delivered[0])
        one.clock.seconds += timedelta(hours=2).total_seconds()
        one.keeper.round()
        with pytest.raises(AgentError, match="E7302"):
            one.outbox.verification(delivered[0])
        assert len(one.outbox.administration.receipts(10)) == 3
        assert one.outbox.verification(waiting).id == waiting, "what waits stays, however long"
        one.clock.seconds += timedelta(days=198).total_seconds()
        one.keeper.round()
        assert len(one.outbox.administration.receipts(10)) == 3
        one.clock.seconds += timedelta(days=2).total_seconds()
        one.keeper.round()
        assert one.outbox.administration.receipts(10) == []
        counts = one.outbox.counts()
        assert (counts.accepted, counts.delivered, counts.difference) == (4, 3, 0)
        assert one.outbox.upkeep.expired() == 3
        assert one.outbox.verification(waiting).id == waiting


def test_a_clock_that_is_years_ahead_ends_no_receipt_and_keeps_nobodys_data_when_it_is_put_right(
    tmp_path: Path,
) -> None:
    years = timedelta(days=3650).total_seconds()
    with house(tmp_path) as one:
        one.put(2)
        one.deliver()
        one.synchronised = False
        one.clock.seconds += years
        (late,) = one.put()
        one.deliver()
        one.keeper.round()
        assert len(one.outbox.administration.receipts(10)) == 3, "the proof of a delivery needs its own time"
        one.clock.seconds -= years
        one.keeper.round()
        assert one.outbox.picture_kinds(late), "nor is a clock that nobody confirmed believed the other way"
        one.synchronised, one.own.time._asked = True, None
        one.keeper.round()
        with pytest.raises(AgentError, match="E7302"):
            one.outbox.verification(late)
        assert len(one.outbox.administration.receipts(10)) == 3


def test_the_file_shrinks_while_the_desk_is_idle_and_only_then(tmp_path: Path) -> None:
    database = tmp_path / "state" / "outbox.db"
    with house(tmp_path) as one:
        for _ in range(60):
            big = verification(at=one.clock.now())
            one.outbox.put(big, dict.fromkeys(PICTURES, os.urandom(100_000)), person=big.id, holds={})
        one.deliver()
        one.clock.seconds += timedelta(hours=25).total_seconds()
        one.put()
        one.outbox.upkeep.checkpoint()
        grown = database.stat().st_size
        one.keeper.round()
        assert database.stat().st_size == grown, "somebody is at the desk"
        for _ in range(5):
            one.clock.seconds += 10
            one.keeper.round()
        assert database.stat().st_size < grown / 4
        assert (tmp_path / "state" / "outbox.db-wal").stat().st_size == 0
        assert one.outbox.counts().difference == 0


def test_memory_that_only_makes_it_quicker_is_given_up_while_the_desk_is_idle(tmp_path: Path) -> None:
    sqlite = ctypes.CDLL(_sqlite3.__file__)
    with house(tmp_path) as one:
        for _ in range(20):
            big = verification(at=one.clock.now())
            one.outbox.put(big, dict.fromkeys(PICTURES, os.urandom(100_000)), person=big.id, holds={})
        one.keeper.round()
        full = sqlite.sqlite3_memory_used()
        assert full > 1_500_000, "somebody is at the desk"
        one.clock.seconds += 10
        one.keeper.round()
        assert sqlite.sqlite3_memory_used() < full - 1_000_000
        assert one.outbox.counts().difference == 0


def test_rot_is_found_before_the_record_is_needed(tmp_path: Path) -> None:
    with house(tmp_path) as one:
        ids = one.put(5)
        one.outbox.upkeep.checkpoint()
        damage_body(tmp_path / "state", "picture:camera")
        one.keeper.round()
        assert one.codes() == ["E3113"]
        one.keeper.round()
        assert one.codes() == ["E3113"], "told once"
        counts = one.outbox.counts()
        assert (counts.quarantined, counts.ready, counts.difference) == (1, 4, 0)
        assert one.outbox.administration.row(ids[0]).state == "quarantined"


def test_a_disk_that_fails_is_told_and_the_loop_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.housekeeping.ROUND_S", 0.01)
    with house(tmp_path) as one:
        stop, rounds = threading.Event(), []

        def failing(*_: object, **_options: object) -> None:
            rounds.append(1)
            if len(rounds) == 3:
                stop.set()
            raise AgentError("E3103", reason="EIO")

        monkeypatch.setattr(one.outbox.upkeep, "erase", failing)
        with caplog.at_level("ERROR"):
            one.keeper.run(Heartbeat("h", one.clock), stop)
        assert len(rounds) == 3
        assert {record.getMessage() for record in caplog.records} == {"E3103"}
