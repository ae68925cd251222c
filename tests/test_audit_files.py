"""A trail over several files: read from its end, checked from its oldest line, shortened only in the open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audit import Audit, Report, trail
from agent.audit.files import TrailFiles

KEY = b"k" * 32
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Days:
    """A clock on which a day passes at each look."""

    def __init__(self) -> None:
        self.today = START

    def now(self) -> datetime:
        self.today += timedelta(days=1)
        return self.today

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def _small_files() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(trail, "FILE_BYTES", 1500)
    yield
    patch.undo()


def opened(folder: Path, clock: Days | None = None) -> Audit:
    return Audit(folder / "audit.jsonl", KEY, clock or Days())


def fill(audit: Audit, count: int = 40) -> None:
    for number in range(count):
        audit.append("record.accepted", who="station", target=f"r{number}")


def checked(folder: Path) -> Report:
    with opened(folder) as audit:
        return audit.verify()


def closed(folder: Path) -> list[Path]:
    return [path for _, path in TrailFiles(folder / "audit.jsonl").closed()]


def test_a_trail_of_many_files_is_counted_read_and_verified_as_one(tmp_path: Path) -> None:
    with opened(tmp_path) as audit:
        fill(audit)
    assert len(closed(tmp_path)) > 3
    with opened(tmp_path) as audit:
        fill(audit)
        assert audit.count("record.accepted") == 80
        assert len(audit.targets(["record.accepted"])) == 40
        assert [line["object"] for line in audit.select(3)][-1] == "r39"
        report = audit.verify()
        assert report.broken_at is None
        assert report.lines == 80 + audit.count(trail.CONTINUED)


def test_a_start_reads_the_last_file_only(tmp_path: Path) -> None:
    with opened(tmp_path) as audit:
        fill(audit)
    for path in closed(tmp_path):
        path.write_bytes(b"")
    with opened(tmp_path) as audit:
        assert audit.count("record.accepted") == 40


@pytest.mark.parametrize("size", [1, 700, 10_000])
def test_a_check_in_parts_goes_through_all_files_while_the_trail_grows(tmp_path: Path, size: int) -> None:
    with opened(tmp_path) as audit:
        fill(audit)
        report = audit.verify_part(size=size)
        while report.next is not None:
            assert report.broken_at is None
            if report.lines < 45:
                fill(audit, 1)
            report = audit.verify_part(report.next, report.head, size)
        assert (report.broken_at, report.head) == (None, audit.sync())


def test_what_its_time_is_over_goes_a_file_at_a_time_and_the_rest_still_verifies(tmp_path: Path) -> None:
    clock = Days()
    with opened(tmp_path, clock) as audit:
        assert audit.prune(START) == 0
        fill(audit)
        before, oldest = len(closed(tmp_path)), closed(tmp_path)[0]
        assert audit.prune(START) == 0
        gone = audit.prune(START + timedelta(days=20))
        assert 0 < gone < before
        assert not oldest.exists()
        assert audit.verify().broken_at is None
        (pruned,) = audit.select(1, lambda line: line["what"] == trail.PRUNED)
        kept = next(iter(trail._lines(closed(tmp_path)[0])))
        assert int(pruned["until"]) == kept["seq"] - 1
        # Nothing younger went with it.
        assert datetime.fromisoformat(str(kept["at"])) < START + timedelta(days=21)
        assert audit.prune(START + timedelta(days=20)) == 0
    with opened(tmp_path, clock) as audit:
        assert audit.count("record.accepted") == 40
        assert audit.verify().broken_at is None
        # The file that grows stays, however old it is.
        audit.prune(START + timedelta(days=99999))
        assert closed(tmp_path) == []
        assert audit.verify().broken_at is None


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_file_taken_away_by_somebody_else_shows(tmp_path: Path, which: int) -> None:
    with opened(tmp_path) as audit:
        fill(audit)
    closed(tmp_path)[which].unlink()
    assert checked(tmp_path).broken_at is not None


def test_one_file_more_taken_away_after_some_were_pruned_shows(tmp_path: Path) -> None:
    with opened(tmp_path) as audit:
        fill(audit)
        audit.prune(START + timedelta(days=20))
    closed(tmp_path)[0].unlink()
    assert checked(tmp_path).broken_at is not None


@given(data=st.data())
def test_a_changed_byte_in_any_file_shows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("trail")
    with opened(folder) as audit:
        fill(audit, 20)
    path = data.draw(st.sampled_from(TrailFiles(folder / "audit.jsonl").all()))
    content = bytearray(path.read_bytes())
    # Not the last line's end: a torn tail is set aside, and told elsewhere.
    position = data.draw(st.integers(0, content.rindex(b"\n", 0, len(content) - 1) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    assert checked(folder).broken_at is not None


@pytest.mark.parametrize("moment", ["draft written", "closed", "begun"])
def test_a_power_cut_between_two_files_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    renames = {"draft written": 0, "closed": 1, "begun": 2}[moment]
    done: list[Path] = []

    def cut(path: Path, target: Path) -> Path:
        if len(done) == renames:
            raise PowerCutError
        done.append(path)
        return moved(path, target)

    def moved(path: Path, target: Path) -> Path:
        os.rename(path, target)
        return Path(target)

    def no_sync(_self: TrailFiles) -> None:
        raise PowerCutError

    audit = opened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut)
        patch.setattr(Path, "replace", cut)
        patch.setattr(TrailFiles, "_sync_folder", no_sync)
        with pytest.raises(PowerCutError):
            fill(audit)
    accepted = audit.count("record.accepted")
    audit.close()
    with opened(tmp_path) as again:
        # The line that filled the file was written before; the event itself is never lost.
        assert again.count("record.accepted") == accepted
        fill(again, 5)
        assert again.verify().broken_at is None
        assert again.count("record.accepted") == accepted + 5
    assert not (tmp_path / "audit.next").exists()


def test_a_disk_that_takes_no_other_file_lets_this_one_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as audit:
        with monkeypatch.context() as patch:
            patch.setattr(TrailFiles, "begin_next", full)
            fill(audit)
        assert closed(tmp_path) == []
        assert audit.verify().lines == 40
        fill(audit, 1)
        assert len(closed(tmp_path)) == 1
        assert audit.verify().broken_at is None


class PowerCutError(Exception):
    """The power was cut here."""
