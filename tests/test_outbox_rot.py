"""One rotten letter in a row that no page check looks into: it stops nobody, and one restart puts it right."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from outbox_support import PICTURES, HandClock, verification
from state_support import delivered_by, small_ballast, state_settings

from agent.catalogue import AgentError
from agent.outbox import owner
from agent.ownership import owning
from agent.records import Hold, Verification

PAGE = owner.PAGE_BYTES
IDS = [f"a{number}" * 16 for number in range(4)]


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_ballast():
        yield


def filled(folder: Path) -> dict[str, Verification]:
    """Leave a state directory with four records, the last of them held."""
    clock = HandClock()
    made = {name: verification(name, at=clock.now() + timedelta(seconds=at)) for at, name in enumerate(IDS)}
    with owning(state_settings(folder), clock) as own:
        for name, one in made.items():
            holds = {Hold.FIELD: "nation"} if name == IDS[3] else {}
            own.outbox.put(one, PICTURES, person=f"person {name}", holds=holds, content=f"content {name}")
            own.audit.append("record.accepted", who="station", target=name)
    return made


def rot(folder: Path, table: str, needle: bytes, mask: int) -> None:
    """Change the first byte of a text in a table's own page; its indexes stay as they are."""
    file = folder / "outbox.db"
    connection = sqlite3.connect(file)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.close()
    content = bytearray(file.read_bytes())
    content[content.index(needle, (root - 1) * PAGE, root * PAGE)] ^= mask
    file.write_bytes(content)


def a_day(folder: Path, went: list[Verification]) -> None:
    """Do everything that reads records, and send what can be sent."""
    with owning(state_settings(folder), HandClock()) as own:
        clock, outbox = own.clock, own.outbox
        outbox.upkeep.scrub(10**9)
        assert [one.id for one in outbox.held()] == [IDS[3]]
        assert {row.id for row in outbox.administration.list_records(None, 100)} == set(IDS)
        while (claim := outbox.claim(clock.now())) is not None:
            delivered_by(own, claim)
            went.append(claim.verification)
        counts = outbox.counts()
        assert (counts.accepted, counts.held, counts.quarantined, counts.difference) == (4, 1, 0, 0)


@pytest.mark.parametrize(
    ("needle", "mask"),
    [
        (IDS[1].encode(), 0x80),  # no UTF-8 any more
        (b"person " + IDS[1].encode(), 0x80),
        (b"content " + IDS[1].encode(), 0x80),
        (b'{"field"', 0x04),  # no JSON any more
    ],
    ids=["id", "person", "content", "holds"],
)
def test_a_rotten_letter_in_a_records_row_costs_one_restart(tmp_path: Path, needle: bytes, mask: int) -> None:
    made = filled(tmp_path)
    went: list[Verification] = []
    rot(tmp_path, "record", needle, mask)
    with pytest.raises(AgentError, match="E3107") as told:
        a_day(tmp_path, went)
    assert "person" not in str(told.value)
    a_day(tmp_path, went)
    assert sorted(one.id for one in went) == IDS[:3]
    assert all(one == made[one.id] for one in went)


def test_a_record_under_a_rotten_id_comes_back_under_its_own(tmp_path: Path) -> None:
    made = filled(tmp_path)
    went: list[Verification] = []
    rot(tmp_path, "record", IDS[1].encode(), 0x02)  # a letter that an id may have
    with owning(state_settings(tmp_path), HandClock()) as own:
        own.outbox.upkeep.scrub(10**9)
        assert own.outbox.damaged
    a_day(tmp_path, went)
    assert sorted(one.id for one in went) == IDS[:3]
    assert all(one == made[one.id] for one in went)


def test_a_record_whose_index_says_another_time_does_not_wait_for_itself(tmp_path: Path) -> None:
    made = filled(tmp_path)
    went: list[Verification] = []
    at = int(made[IDS[1]].verified_at.timestamp() * 1000).to_bytes(6, "big")
    rot(tmp_path, "record", at, 0x10)
    a_day(tmp_path, went)
    assert {one.id for one in went} == set(IDS[:3])


def test_the_full_check_finds_what_a_start_has_no_time_for(tmp_path: Path) -> None:
    for name, needle, mask in (
        ("index", IDS[1].encode(), 0x02),
        ("text", b"content " + IDS[1].encode(), 0x80),
    ):
        folder = tmp_path / name
        filled(folder)
        rot(folder, "record", needle, mask)
        with owning(state_settings(folder), HandClock()) as own:
            wrong = own.outbox.administration.check_tables()
            assert wrong is not None
            assert wrong.startswith("record: ")
            assert "content" not in wrong
        with owning(state_settings(folder), HandClock()) as own:
            assert own.outbox.salvaged is not None
            assert own.outbox.administration.check_tables() is None
