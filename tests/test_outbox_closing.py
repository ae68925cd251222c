"""Why nobody goes on with a record: given up, superseded, moved; what earlier versions kept of it; what waits."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from old_outboxes import MOVED, close_one_of_each, turn_into_version_3
from outbox_support import PICTURES, HandClock, open_outbox, receipt, verification
from test_outbox_damage import overwrite

from agent.catalogue import AgentError
from agent.outbox import Outbox, SettleBack, SettleDelivered, transfer


def put(outbox: Outbox) -> str:
    """Keep one record. Return its id."""
    one = verification()
    outbox.put(one, PICTURES, person="p", holds={})
    return one.id


def deliver(outbox: Outbox) -> bool:
    """Deliver what is due next. Return whether there was anything."""
    claim = outbox.claim(outbox._clock.now())
    if claim is None:
        return False
    outbox.note_attempt(
        claim,
        request_id=claim.id,
        conventions_fingerprint="f",
        conventions_json="{}",
        sm3_hex="00" * 32,
        length=10,
    )
    assert outbox.counts().oldest_waiting is not None
    outbox.settle(claim, SettleDelivered(receipt(claim.id)))
    return True


def held_against(outbox: Outbox, ids: dict[str, str]) -> None:
    """Say that an outbox tells the closed records apart, and balances."""
    rows = {why: outbox.administration.row(record) for why, record in ids.items()}
    counts = outbox.counts()
    assert [rows[why].closed_as for why in ("superseded", "moved", "given_up", "waits")] == [
        "superseded",
        "moved",
        "given_up",
        None,
    ]
    assert rows["superseded"].closed_why == ids["successor"]
    assert rows["given_up"].closed_why == "试机"
    assert (counts.superseded, counts.moved, counts.given_up, counts.discarded) == (1, 1, 1, 3)
    assert (counts.accepted, counts.waiting, counts.difference) == (5, 2, 0)
    for why in ("superseded", "moved", "given_up"):
        assert [row.id for row in outbox.administration.list_records(why, 9)] == [ids[why]]


def test_who_goes_on_is_kept_as_a_key_beside_the_words(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        ids = close_one_of_each(outbox)
        held_against(outbox, ids)
        assert outbox.administration.row(ids["moved"]).closed_why == "export.bin"


def test_the_sentences_of_version_3_become_keys(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        ids = close_one_of_each(outbox)
    turn_into_version_3(tmp_path)
    with open_outbox(tmp_path) as outbox:
        held_against(outbox, ids)
        assert outbox.administration.row(ids["moved"]).closed_why is None
    copy = sqlite3.connect(tmp_path / "outbox.db.before-4")
    assert copy.execute("SELECT count(*) FROM record WHERE closed_why = ?", (MOVED,)).fetchone() == (1,)
    copy.close()


def test_a_damaged_version_3_is_salvaged_with_its_keys(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        ids = close_one_of_each(outbox)
    turn_into_version_3(tmp_path)
    overwrite(tmp_path / "outbox.db", 0, bytes(16))
    with open_outbox(tmp_path) as outbox:
        assert outbox.salvaged is not None
        held_against(outbox, ids)


def test_an_export_of_version_3_is_taken_in_with_its_keys(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with open_outbox(tmp_path / "old") as old, open_outbox(tmp_path / "new") as new:
        ids = close_one_of_each(old)
        for record in old.administration.exportable():
            head, bodies = transfer._parted(old.administration.export_entry(record))
            head["meta"].pop("closed_as")
            if record == ids["superseded"]:
                head["meta"]["closed_why"] = f"superseded by {ids['successor']}"
            if record == ids["moved"]:
                head["meta"]["closed_why"] = MOVED
            assert new.administration.import_entry(transfer._joined(head, bodies), lambda _: "p").new
        held_against(new, ids)


def test_the_counters_outlive_the_rows(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        ids = close_one_of_each(outbox)
        while deliver(outbox):
            pass
        clock.seconds = 300 * 86400
        keep = clock.now() - clock.now()
        assert outbox.upkeep.erase(keep) == len(ids)
        assert outbox.upkeep.expire(keep) == len(ids)
        counts = outbox.counts()
        assert (counts.superseded, counts.moved, counts.given_up, counts.difference) == (1, 1, 1, 0)


def test_what_is_being_sent_waits_as_long_as_it_did_before(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        put(outbox)
        before = outbox.counts()
        claim = outbox.claim(outbox._clock.now())
        assert claim is not None
        while_sending = outbox.counts()
        assert (while_sending.sending, while_sending.waiting) == (1, 1)
        assert while_sending.oldest_waiting == before.oldest_waiting
        outbox.settle(claim, SettleBack(outbox._clock.now()))
        assert deliver(outbox)
        assert (outbox.counts().oldest_waiting, outbox.counts().waiting) == (None, 0)


def test_what_was_given_back_under_a_clock_years_ahead_is_due_when_it_is_put_right(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        put(outbox)
        clock.seconds = 10.0 * 365 * 86400
        claim = outbox.claim(clock.now())
        assert claim is not None
        outbox.settle(claim, SettleBack(clock.now() + timedelta(minutes=5)))
        assert outbox.claim(clock.now()) is None
        clock.seconds = 60.0
        assert outbox.claim(clock.now()) is not None


def test_a_closed_outbox_says_so_and_nothing_else(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.close()
    outbox.close()
    with pytest.raises(AgentError, match="E3105"):
        outbox.put(verification(), PICTURES, person="p", holds={})
