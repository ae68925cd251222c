"""Rotten bits anywhere: what can be read goes on, what cannot is counted and named, nothing is altered."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from old_outboxes import write_version_1
from outbox_support import PICTURES, SEAL_KEY, HandClock, open_outbox, verification
from state_support import delivered_by, state_settings

from agent import keys
from agent.catalogue import AgentError
from agent.outbox import owner, space
from agent.outbox.pages import PageFile
from agent.ownership import owning
from agent.records import PictureKind, Verification

PAGE = owner.PAGE_BYTES


@pytest.fixture(autouse=True)
def _small_ballast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "BALLAST_BYTES", 4096)


def filled(
    folder: Path, count: int, delivered: int = 0, *, keep_log: bool = False
) -> dict[str, Verification]:
    """Leave a state directory with that many records, some of them delivered, as a killed process would."""
    clock, made = (
        HandClock(),
        [verification(at=HandClock().now() + timedelta(seconds=n)) for n in range(count)],
    )
    with owning(state_settings(folder), clock) as own:
        for number, one in enumerate(made):
            own.outbox.put(
                one, {**PICTURES, PictureKind.FINGER: bytes(30_000)}, person=f"p{number}", holds={}
            )
            own.audit.append("record.accepted", who="station", target=one.id)
        for _ in range(delivered):
            claim = own.outbox.claim(clock.now())
            assert claim is not None
            delivered_by(own, claim)
        if keep_log:
            for name in ("outbox.db", "outbox.db-wal"):
                shutil.copy(folder / name, folder / f"{name}.kept")
    if keep_log:
        for name in ("outbox.db", "outbox.db-wal"):
            (folder / f"{name}.kept").replace(folder / name)
    return {one.id: one for one in made}


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def reckoning(folder: Path, made: dict[str, Verification]) -> tuple[int, int]:
    """Open what is left; every record is there or named as lost. Return how many are readable, how many not."""
    with owning(state_settings(folder), HandClock()) as own:
        readable = 0
        own.outbox.upkeep.scrub(10**9)
        counts = own.outbox.counts()
        assert counts.difference == 0
        assert counts.accepted == len(made)
        rows = {row.id: row for row in own.outbox.administration.list_records(None, 1000)}
        assert set(rows) <= set(made)
        for record, row in rows.items():
            if row.state in {"ready", "delivered"}:
                readable += 1
            if row.state == "ready":
                assert own.outbox.verification(record) == made[record]
                assert own.outbox.picture(record, PictureKind.CAMERA) == PICTURES[PictureKind.CAMERA]
            else:
                assert row.state in {"delivered", "quarantined"}
    # And once more: what was found is not found anew at each start.
    with owning(state_settings(folder), HandClock()) as own:
        assert own.outbox.counts().accepted == len(made)
        assert own.outbox.salvaged is None
    return readable, counts.quarantined


def pages(folder: Path) -> int:
    return (folder / "outbox.db").stat().st_size // PAGE


@pytest.mark.parametrize("seed", range(6))
def test_any_page_may_rot_and_the_rest_goes_on(tmp_path: Path, seed: int) -> None:
    logging.disable(logging.CRITICAL)
    try:
        whole = tmp_path / "whole"
        made = filled(whole, 12, delivered=3)
        rng = random.Random(seed)
        for page in range(seed, pages(whole), 6):
            damaged = tmp_path / f"page-{page}"
            shutil.copytree(whole, damaged)
            overwrite(damaged / "outbox.db", page * PAGE, rng.randbytes(PAGE))
            readable, lost = reckoning(damaged, made)
            assert readable >= 1, page
            assert readable + lost <= 12
            shutil.rmtree(damaged)
    finally:
        logging.disable(logging.NOTSET)


def page_of(folder: Path, table: str) -> int:
    """Return where the first page of a table begins."""
    with closing(sqlite3.connect(folder / "outbox.db")) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return int(root - 1) * PAGE


@pytest.mark.parametrize("table", ["epoch_key", "setting", "record", "ledger"])
@pytest.mark.parametrize("size", [PAGE, 0], ids=["page", "bit"])
def test_no_one_page_and_no_one_bit_takes_every_record_along(tmp_path: Path, table: str, size: int) -> None:
    made = filled(tmp_path, 5)
    start = page_of(tmp_path, table)
    content = bytearray((tmp_path / "outbox.db").read_bytes())
    if size:
        content[start : start + size] = random.Random(1).randbytes(size)
    else:
        content[start + PAGE - 50] ^= 1  # within the first row: cells fill a page from its end
    (tmp_path / "outbox.db").write_bytes(content)
    readable, lost = reckoning(tmp_path, made)
    assert readable >= 4
    assert readable + lost == 5


def test_the_copy_of_an_epoch_key_follows_every_change_of_the_main_key(tmp_path: Path) -> None:
    made = filled(tmp_path, 3)
    with owning(state_settings(tmp_path), HandClock()) as own:
        own.outbox.administration.rotate()
        kek = own.outbox.administration.rewrap(b"another main key" * 4)
        copies = [own.outbox.setting(f"epoch_key:{epoch}") for epoch in (1, 2)]
        assert [str(copy).partition(":")[0] for copy in copies] == [kek, kek]
        rows = own.outbox._owner.run(lambda c: c.execute("SELECT kek_id FROM epoch_key").fetchall())
        assert [row["kek_id"] for row in rows] == [kek, kek]
        own.outbox.administration.rewrap(keys.load(state_settings(tmp_path)).seal)
    # The rows are gone, the copies open everything, and both are there again.
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        connection.execute("DELETE FROM epoch_key")
        connection.commit()
    for _ in range(2):
        assert reckoning(tmp_path, made) == (3, 0)
        with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
            assert connection.execute("SELECT count(*) FROM epoch_key").fetchone()[0] == 2
            connection.execute("DELETE FROM setting WHERE name GLOB 'epoch_key:*'")
            connection.commit()


def test_any_bit_of_header_and_first_pages_may_flip(tmp_path: Path) -> None:
    logging.disable(logging.CRITICAL)
    try:
        whole = tmp_path / "whole"
        made = filled(whole, 4, delivered=1)
        rng = random.Random(7)
        for bit in [*range(0, 100 * 8, 7), *(rng.randrange(PAGE * 8 * 8) for _ in range(60))]:
            damaged = tmp_path / "flipped"
            shutil.copytree(whole, damaged)
            content = (damaged / "outbox.db").read_bytes()
            overwrite(damaged / "outbox.db", bit // 8, bytes([content[bit // 8] ^ 1 << bit % 8]))
            reckoning(damaged, made)
            shutil.rmtree(damaged)
    finally:
        logging.disable(logging.NOTSET)


def test_a_rotten_write_ahead_log_is_noticed_and_the_missing_are_named(tmp_path: Path) -> None:
    logging.disable(logging.CRITICAL)
    try:
        whole = tmp_path / "whole"
        made = filled(whole, 6, delivered=1, keep_log=True)
        log = whole / "outbox.db-wal"
        for at in [*range(0, 32, 3), *range(32, log.stat().st_size, log.stat().st_size // 25)]:
            damaged = tmp_path / "flipped"
            shutil.copytree(whole, damaged)
            overwrite(damaged / "outbox.db-wal", at, bytes([log.read_bytes()[at] ^ 0x10]))
            reckoning(damaged, made)
            shutil.rmtree(damaged)
    finally:
        logging.disable(logging.NOTSET)


def test_a_file_cut_to_nothing_names_every_record(tmp_path: Path) -> None:
    made = filled(tmp_path, 5)
    (tmp_path / "outbox.db").write_bytes(b"")
    assert reckoning(tmp_path, made) == (0, 5)


def test_an_old_copy_put_back_names_what_came_after_it(tmp_path: Path) -> None:
    made = filled(tmp_path, 3)
    shutil.copy(tmp_path / "outbox.db", tmp_path / "old")
    with owning(state_settings(tmp_path), HandClock()) as own:
        later = verification(at=HandClock().now() + timedelta(hours=1))
        own.outbox.put(later, PICTURES, person="z", holds={})
        own.audit.append("record.accepted", who="station", target=later.id)
    (tmp_path / "old").replace(tmp_path / "outbox.db")
    assert reckoning(tmp_path, {**made, later.id: later}) == (3, 1)


def test_the_damaged_file_is_kept_and_salvage_ends_what_a_kill_began(tmp_path: Path) -> None:
    made = filled(tmp_path, 5)
    before = (tmp_path / "outbox.db").read_bytes()
    overwrite(tmp_path / "outbox.db", 0, bytes(100))
    damaged = (tmp_path / "outbox.db").read_bytes()
    # A kill right after the damaged file was moved aside.
    owner.mark_damaged(tmp_path / "outbox.db")
    (tmp_path / "damaged-001").mkdir()
    (tmp_path / "outbox.db").rename(tmp_path / "damaged-001" / "outbox.db")
    assert reckoning(tmp_path, made) == (5, 0)
    assert (tmp_path / "damaged-001" / "outbox.db").read_bytes() == damaged != before
    assert not owner.damage_mark(tmp_path / "outbox.db").exists()


@pytest.mark.parametrize("gone", [True, False])
def test_a_log_whose_database_is_gone_or_empty_is_read_and_not_deleted(tmp_path: Path, gone: bool) -> None:
    made = filled(tmp_path, 5, keep_log=True)
    (tmp_path / "outbox.db").write_bytes(b"")
    if gone:
        (tmp_path / "outbox.db").unlink()
    assert reckoning(tmp_path, made) == (5, 0)


@pytest.mark.parametrize("moved", [[], ["outbox.db-wal"], ["outbox.db"], ["outbox.db", "outbox.db-wal"]])
def test_a_salvage_cut_off_while_it_moves_the_files_aside_goes_on_with_both(
    tmp_path: Path, moved: list[str]
) -> None:
    made = filled(tmp_path, 5, keep_log=True)
    owner.mark_damaged(tmp_path / "outbox.db")
    folder = tmp_path / "damaged-001"
    folder.mkdir()
    for name in moved:  # a power cut may keep either move and lose the other
        (tmp_path / name).rename(folder / name)
    assert reckoning(tmp_path, made) == (5, 0)
    assert {path.name for path in folder.iterdir()} == {"outbox.db", "outbox.db-wal"}
    assert list(tmp_path.glob("damaged-*")) == [folder]


def test_damage_met_while_running_is_salvaged_at_the_next_start(tmp_path: Path) -> None:
    made = filled(tmp_path, 5)
    with owning(state_settings(tmp_path), HandClock()) as own:

        def broken(_connection: sqlite3.Connection) -> None:
            raise sqlite3.DatabaseError("database disk image is malformed")

        with pytest.raises(AgentError, match="E3107"):
            own.outbox._owner.run(broken)
        assert own.outbox.damaged
    with owning(state_settings(tmp_path), HandClock()) as own:
        assert own.outbox.salvaged is not None
        assert own.outbox.salvaged.records == 5
    assert reckoning(tmp_path, made) == (5, 0)


def test_a_lost_meta_row_is_rebuilt_from_beside_the_facts(tmp_path: Path) -> None:
    made = filled(tmp_path, 4)
    connection = sqlite3.connect(tmp_path / "outbox.db")
    connection.execute("DELETE FROM record WHERE seq IN (2, 3)")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    owner.mark_damaged(tmp_path / "outbox.db")
    with owning(state_settings(tmp_path), HandClock()) as own:
        assert own.outbox.salvaged is not None
        assert own.outbox.salvaged.rebuilt == 2
    assert reckoning(tmp_path, made) == (4, 0)


def test_the_page_reader_reads_what_sqlite_reads(tmp_path: Path) -> None:
    made = filled(tmp_path, 9, delivered=4, keep_log=True)
    source = PageFile(tmp_path / "outbox.db", tmp_path / "outbox.db-wal", PAGE)
    rows = list(source.rows())
    source.close()
    connection = sqlite3.connect(tmp_path / "outbox.db")
    bodies = connection.execute("SELECT seq, record, kind, sealed, origin FROM body").fetchall()
    attempts = connection.execute("SELECT * FROM attempt").fetchall()
    connection.close()
    found = {row.rowid: row.values for row in rows if row.rowid is not None and len(row.values) == 5}
    assert {seq: (None, *rest) for seq, *rest in bodies}.items() <= found.items()
    assert {tuple(row) for row in attempts} <= {row.values for row in rows if row.rowid is None}
    assert {row.values[1] for row in rows if len(row.values) > 20} == set(made)


# --- versions ---------------------------------------------------------------------------------------


def test_version_1_becomes_the_newest_with_a_copy_of_what_was_changed(tmp_path: Path) -> None:
    records = write_version_1(tmp_path, 3)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with open_outbox(tmp_path) as outbox, open_outbox(fresh) as other:
        assert outbox.counts().ready == 3
        assert [outbox.verification(record).id for record in records] == records
        assert outbox._owner.run(_shape) == other._owner.run(_shape)
    copy = sqlite3.connect(tmp_path / "outbox.db.before-4")
    tables = {row[0] for row in copy.execute("SELECT name FROM sqlite_master")}
    assert copy.execute("SELECT count(*) FROM attempt").fetchone()[0] == 3
    copy.close()
    assert {"record", "attempt", "ledger", "epoch_key"} <= tables
    assert "body" not in tables
    clock = HandClock()
    clock.seconds = 10**9
    with open_outbox(tmp_path, clock) as outbox:
        outbox.upkeep.forget_backups()
    assert not (tmp_path / "outbox.db.before-4").exists()


def _shape(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return tables, columns in their order, and indexes."""
    objects = connection.execute(
        "SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    ).fetchall()
    return {
        row["name"]: [
            tuple(column)[1:4] for column in connection.execute(f"PRAGMA table_info({row['name']})")
        ]
        for row in objects
    }


def test_a_newer_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with open_outbox(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "outbox.db")
    connection.execute("UPDATE setting SET value = '9' WHERE name = 'schema'")
    connection.execute("PRAGMA user_version = 9")
    connection.commit()
    connection.close()
    before = (tmp_path / "outbox.db").read_bytes()
    with pytest.raises(AgentError, match="E3104"):
        open_outbox(tmp_path)
    assert (tmp_path / "outbox.db").read_bytes() == before


@pytest.fixture
def _keyed(tmp_path: Path) -> None:
    """Make the sealing key of version 1's records the state directory's own."""
    keys.write_key(tmp_path / "keys" / "seal.key", SEAL_KEY.hex().encode())


@pytest.mark.usefixtures("_keyed")
def test_a_damaged_version_1_is_salvaged_into_the_newest(tmp_path: Path) -> None:
    records = write_version_1(tmp_path, 3)
    overwrite(tmp_path / "outbox.db", 0, bytes(16))
    with owning(state_settings(tmp_path), HandClock()) as own:
        assert own.outbox.salvaged is not None
        assert [own.outbox.verification(record).id for record in records] == records
        assert own.outbox.counts().difference == 0
