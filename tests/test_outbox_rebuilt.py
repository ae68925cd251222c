"""What a person closed stays closed, whatever a rebuilt row or an old copy of the file says of it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from outbox_support import HandClock
from state_support import state_settings
from test_outbox_damage import filled

from agent.outbox import SettleParked, owner, space
from agent.ownership import Ownership, owning


@pytest.fixture(autouse=True)
def _small_ballast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "BALLAST_BYTES", 4096)


def refused(own: Ownership) -> str:
    """Let the platform refuse the next record. Return its id."""
    claim = own.outbox.claim(own.clock.now())
    assert claim is not None
    own.outbox.settle(claim, SettleParked("E5101", ""))
    return claim.id


def give_up(own: Ownership, record: str) -> None:
    """Give a record up, as the verb does."""
    own.outbox.administration.discard(record, "it", "试机")
    own.audit.append("record.discarded", who="it", target=record, reason="试机")


def correct(own: Ownership, record: str) -> str:
    """Correct a record, as the verb does. Return the successor's id."""
    new, _ = own.outbox.administration.amend(record, lambda _: {"address": "别处"}, lambda *_: {}, "it")
    own.audit.append("record.superseded", who="it", target=record, by=new)
    own.audit.append("record.amended", who="it", target=new)
    return new


def close_three(folder: Path) -> dict[str, str]:
    """Leave three records, closed for each reason, and the successor of one. Return reason -> id."""
    made = list(filled(folder, 3))
    with owning(state_settings(folder), HandClock()) as own:
        superseded = refused(own)
        given_up, moved = (record for record in made if record != superseded)
        give_up(own, given_up)
        own.outbox.administration.hand_over(moved, "it", "export.bin")
        own.audit.append("record.discarded", who="it", target=moved, reason="moved")
        successor = correct(own, superseded)
    return {"given_up": given_up, "moved": moved, "superseded": superseded, "successor": successor}


def lose_rows(folder: Path, where: str) -> None:
    """Lose meta rows as a damaged page does; the next start salvages."""
    with closing(sqlite3.connect(folder / "outbox.db")) as connection:
        connection.execute(f"DELETE FROM record WHERE {where}")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    owner.mark_damaged(folder / "outbox.db")


def test_what_was_closed_stays_closed_when_its_lost_row_is_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ids = close_three(tmp_path)
    lose_rows(tmp_path, "state = 'discarded'")
    with owning(state_settings(tmp_path), HandClock()) as own:
        assert own.outbox.salvaged is not None
        assert own.outbox.salvaged.rebuilt == 3
        rows = {reason: own.outbox.administration.row(record) for reason, record in ids.items()}
        assert rows.pop("successor").state == "ready"
        assert {(row.state, row.closed_as == reason, row.closed_by) for reason, row in rows.items()} == {
            ("discarded", True, "it")
        }
        assert rows["given_up"].closed_why == "试机"
        assert rows["superseded"].superseded_by == ids["successor"]
        counts = own.outbox.counts()
        assert (counts.discarded, counts.superseded, counts.moved, counts.difference) == (3, 1, 1, 0)
    assert [line.getMessage() for line in caplog.records].count("I3004") == 3


def test_what_was_closed_stays_closed_when_an_old_copy_is_put_back(tmp_path: Path) -> None:
    made = list(filled(tmp_path, 2))
    with owning(state_settings(tmp_path), HandClock()) as own:
        parked = refused(own)
    given_up = next(record for record in made if record != parked)
    shutil.copy(tmp_path / "outbox.db", tmp_path / "copy")
    with owning(state_settings(tmp_path), HandClock()) as own:
        give_up(own, given_up)
        successor = correct(own, parked)
    (tmp_path / "copy").rename(tmp_path / "outbox.db")
    with owning(state_settings(tmp_path), HandClock()) as own:
        rows = [own.outbox.administration.row(record).state for record in (given_up, parked, successor)]
        # The correction is lost with the copy's age: what it corrected waits for another one.
        assert rows == ["discarded", "parked", "quarantined"]
        assert own.outbox.counts().difference == 0


def test_closed_records_of_which_nothing_is_left_are_counted_as_closed(tmp_path: Path) -> None:
    close_three(tmp_path)
    with owning(state_settings(tmp_path), HandClock()) as own:
        assert (
            own.outbox.upkeep.erase(timedelta(seconds=-1)) == 2
        )  # what was corrected stays until its successor goes
    lose_rows(tmp_path, "wrapped_key IS NULL")
    with owning(state_settings(tmp_path), HandClock()) as own:
        counts = own.outbox.counts()
        assert (counts.accepted, counts.delivered, counts.discarded, counts.difference) == (4, 0, 3, 0)
