"""The watched folder: nothing deleted before the commit, nothing lost, nothing that stops what is behind it."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from console_support import configuration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake_support import base64_of, parts_over, picture, submission
from outbox_support import NAME, NUMBER
from pictures_support import HOSTILE_MARK, PICTURE_CHILD, hostile

from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.heartbeat import Heartbeat
from agent.intake import fetch
from agent.intake import folder as watched
from agent.intake.folder import AT_ONCE, QUARANTINE, SETTLE_S, Folder
from agent.intake.keeping import Intake, Parts
from agent.ops import devices
from agent.outbox import Outbox
from agent.ownership import Ownership, owning
from agent.records import PictureKind
from agent.vision.pictures import Pictures
from drivers import access


class StandingClock(SystemClock):
    """Real time of day; the monotonic clock moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


class Dropping:
    """A kiosk that drops files, and the agent that takes them."""

    def __init__(self, own: Ownership, path: Path, mapping: str | None = None) -> None:
        self.own = own
        self.path = path
        self.clock = StandingClock()
        intake_config = own.config.intake.model_copy(update={"folder": str(path), "mapping": mapping})
        config = own.config.model_copy(update={"intake": intake_config})
        self.board = Board(self.clock)
        self.parts: Parts = replace(parts_over(own, self.board), config=lambda: config, clock=self.clock)
        self.intake = Intake(self.parts)
        self.folder = Folder(self.parts, self.intake, path)

    def accepts(self, pictures: Pictures, at_most_s: float | None = None) -> None:
        """Let pictures be looked at by others from now on; one with the mark for so long at the most."""

        def accept(raw: bytes, bound: int) -> bytes:
            if at_most_s is not None:
                pictures._limit_s = at_most_s if HOSTILE_MARK in raw else 60.0
            return pictures.accepted(raw, bound)

        self.intake._parts = replace(self.parts, accept=accept)

    def drop(self, name: str, data: Any) -> None:
        """Write a file as a careful kiosk does: under another name, then renamed."""
        draft = self.path / f".{name}"
        draft.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        draft.rename(self.path / name)

    def round(self) -> None:
        self.folder.round(Heartbeat("folder", self.clock), threading.Event())

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir() if entry.name != QUARANTINE)

    def aside(self) -> list[str]:
        quarantine = self.path / QUARANTINE
        return sorted(os.listdir(quarantine)) if quarantine.exists() else []

    def kept(self) -> int:
        return self.own.outbox.counts().accepted


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Dropping]:
    path = tmp_path / "drop"
    path.mkdir()
    with owning(configuration(tmp_path / "site"), SystemClock()) as own:
        yield Dropping(own, path)


def test_a_file_is_kept_and_then_deleted_and_the_same_again_is_the_same(site: Dropping) -> None:
    one = submission()
    site.drop("a.json", one)
    site.drop("b.JSON", submission())
    site.round()
    assert (site.names(), site.aside(), site.kept()) == ([], [], 2)
    site.drop("again.json", one)
    site.round()
    assert (site.names(), site.aside(), site.kept()) == ([], [], 2)
    assert site.own.audit.count("record.accepted") == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another account's folder")
def test_a_folder_that_cannot_be_emptied_is_told_before_the_first_file_comes(site: Dropping) -> None:
    site.path.chmod(0o755)  # root's: whoever else may look, and take nothing away
    site.round()
    nobody = access.Account("nobody", 65534, frozenset({65534}))
    assert devices.drop_folder(site.parts.config(), access.ourselves()) == (None, {})
    code, facts = devices.drop_folder(site.parts.config(), nobody)
    assert (code, facts["reason"]) == ("E8531", os.strerror(errno.EACCES))


def test_so_is_one_on_a_read_only_file_system_and_its_results_are_kept(
    site: Dropping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit's sandbox makes it so where `setup` was not run again: the mode of the folder does not show it."""
    real, read_only = os.statvfs, SimpleNamespace(f_flag=os.ST_RDONLY)
    monkeypatch.setattr(os, "statvfs", lambda path: read_only if path == site.path else real(path))
    for number in range(2):
        with pytest.raises(AgentError, match="E8531") as told:
            site.round()
        assert told.value.facts["reason"] == os.strerror(errno.EROFS)
        assert site.kept() == number
        site.drop("a.json", submission())


def test_nothing_is_deleted_before_it_is_durable(site: Dropping, monkeypatch: pytest.MonkeyPatch) -> None:
    put, there = Outbox.put, []

    def watching(*arguments: Any, **options: Any) -> None:
        there.append((site.path / "a.json").exists())
        put(*arguments, **options)
        there.append((site.path / "a.json").exists())

    monkeypatch.setattr(Outbox, "put", watching)
    site.drop("a.json", submission())
    site.round()
    assert there == [True, True]
    assert site.names() == []


def test_a_kiosk_that_uses_one_name_again_and_again_loses_nothing(
    site: Dropping, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Outbox.put
    waiting = [submission(), {"no": "result"}, submission()]

    def meanwhile(*arguments: Any, **options: Any) -> None:
        put(*arguments, **options)
        if waiting:  # the next one lies there before the first is taken away
            site.drop("result.json", waiting.pop(0))

    monkeypatch.setattr(Outbox, "put", meanwhile)
    site.drop("result.json", submission())
    for _ in range(4):
        site.round()
    if waiting:
        site.drop("result.json", waiting.pop(0))
        site.round()
    assert (site.names(), site.kept()) == ([], 3)
    assert len([name for name in site.aside() if not name.endswith(".reason.json")]) == 1


def test_a_file_left_by_a_kill_while_it_was_taken_away_is_taken(site: Dropping) -> None:
    left = site.path / f"{watched.OURS}0.json"
    left.write_text(json.dumps(submission()), "utf-8")
    site.drop("a.json", submission())
    site.round()
    assert (site.names(), site.aside(), site.kept()) == ([], [], 2)


def test_a_file_that_may_not_be_read_does_not_stop_those_behind_it(
    site: Dropping, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = fetch.content

    def forbidden(name: Path, limit: int) -> bytes:
        if name.name == "a.json":
            raise PermissionError(13, "Permission denied")  # root, as whom this may run, reads everything
        return content(name, limit)

    monkeypatch.setattr(fetch, "content", forbidden)
    site.drop("a.json", submission())
    site.drop("b.json", submission())
    with pytest.raises(AgentError) as caught:
        site.round()
    assert caught.value.code == "E8531"
    assert (site.names(), site.kept()) == (["a.json"], 1)


def test_nor_do_as_many_of_them_as_one_look_takes(site: Dropping, monkeypatch: pytest.MonkeyPatch) -> None:
    content = fetch.content

    def forbidden(name: Path, limit: int) -> bytes:
        if name.name.startswith("a"):
            raise PermissionError(13, "Permission denied")
        return content(name, limit)

    monkeypatch.setattr(fetch, "content", forbidden)
    for number in range(AT_ONCE):
        site.drop(f"a{number:02}.json", {})
    site.drop("b.json", submission())
    for _ in range(2):
        with pytest.raises(AgentError, match="E8531"):
            site.round()
    assert (len(site.names()), site.kept()) == (AT_ONCE, 1)
    monkeypatch.setattr(fetch, "content", content)
    site.drop("c.json", submission())
    site.round()
    site.round()
    assert (site.names(), site.kept()) == ([], 2), "what may be read again is taken as well"


@pytest.mark.parametrize("code", ["E3101", "E3102", "E3103"])
def test_while_there_is_no_room_everything_stays(
    site: Dropping, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise AgentError(code, used=1, limit=1, reason="full")

    site.drop("a.json", submission())
    with monkeypatch.context() as patched:
        patched.setattr(Outbox, "put", refuse)
        for _ in range(3):
            with pytest.raises(AgentError) as caught:
                site.round()
            assert caught.value.code == code
    assert (site.names(), site.aside(), site.kept()) == (["a.json"], [], 0)
    site.round()
    assert (site.names(), site.kept()) == ([], 1)


def test_a_half_written_file_is_left_until_it_is_whole(site: Dropping) -> None:
    raw = json.dumps(submission()).encode()
    path = site.path / "a.json"
    path.write_bytes(raw[: len(raw) // 2])
    for _ in range(3):
        site.clock.seconds += SETTLE_S - 1
        with path.open("ab") as growing:
            growing.write(b" ")  # it still grows: slowly, but it does
        site.round()
    assert (site.names(), site.aside(), site.kept()) == (["a.json"], [], 0)
    path.write_bytes(raw)
    site.round()
    assert (site.names(), site.aside(), site.kept()) == ([], [], 1)


def test_what_stays_unreadable_is_quarantined_with_its_reason(site: Dropping) -> None:
    site.drop("a.json", b'{"id": ')
    site.round()
    site.clock.seconds += SETTLE_S - 1
    site.round()
    assert (site.names(), site.aside()) == (["a.json"], [])
    site.clock.seconds += 1
    site.round()
    assert (site.names(), site.aside()) == ([], ["a.json", "a.json.reason.json"])
    reason = json.loads((site.path / QUARANTINE / "a.json.reason.json").read_text("utf-8"))
    assert [fault["code"] for fault in reason["faults"]] == ["E8506"]
    assert (site.path / QUARANTINE / "a.json").read_bytes() == b'{"id": '
    assert site.board.snapshot()["intake"]["code"] == "W8502"
    assert "W8502" in [event.code for event in site.board.events()]


def test_what_is_refused_goes_aside_at_once_and_never_over_another(site: Dropping) -> None:
    for _ in range(2):
        site.drop("a.json", submission(score=None))
        site.round()
    assert site.aside() == ["1-a.json", "1-a.json.reason.json", "a.json", "a.json.reason.json"]
    one = submission()
    site.drop("b.json", one)
    site.drop("c.json", {**one, "score": 0.5})
    site.round()
    assert site.kept() == 1
    reason = json.loads((site.path / QUARANTINE / "c.json.reason.json").read_text("utf-8"))
    assert [fault["code"] for fault in reason["faults"]] == ["E8503"]
    # Mended and put back, it is taken.
    mended = site.path / QUARANTINE / "a.json"
    mended.write_text(json.dumps(submission()), "utf-8")
    mended.rename(site.path / "mended.json")
    site.round()
    assert (site.names(), site.kept()) == ([], 2)


def test_only_finished_files_are_looked_at(site: Dropping, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(submission()), "utf-8")
    (site.path / "link.json").symlink_to(outside)
    (site.path / "folder.json").mkdir()
    os.mkfifo(site.path / "pipe.json")
    for name in (".a.json", "a.json.tmp", "a.txt", "a.json.part"):
        (site.path / name).write_text(json.dumps(submission()), "utf-8")
    before = site.names()
    site.round()
    assert (site.names(), site.aside(), site.kept()) == (before, [], 0)


def test_while_no_picture_can_be_looked_at_everything_stays(site: Dropping) -> None:
    with closing(Pictures(SystemClock(), command=["/bin/false"])) as pictures:
        site.accepts(pictures)
        site.drop("a.json", submission())
        site.drop("b.json", submission())
        for _ in range(3):
            with pytest.raises(AgentError, match="E2308"):
                site.round()
            site.clock.seconds += 2 * SETTLE_S
        assert (site.names(), site.aside(), site.kept()) == (["a.json", "b.json"], [], 0)
    site.accepts(PICTURE_CHILD)
    site.round()
    assert (site.names(), site.aside(), site.kept()) == ([], [], 2)


def test_a_picture_that_is_not_looked_at_in_time_holds_nobody_up(site: Dropping) -> None:
    slow = submission(card_picture=base64_of(picture(1) + HOSTILE_MARK))
    with closing(Pictures(SystemClock(), command=hostile("time.sleep(600)"))) as pictures:
        assert pictures.accepted(picture(3), 10**6), "started"
        site.accepts(pictures, at_most_s=0.5)
        site.drop("a.json", slow)
        site.drop("b.json", submission())
        with pytest.raises(AgentError, match="E2307"):
            site.round()
        assert (site.names(), site.aside(), site.kept()) == (["a.json"], [], 1)


def test_a_picture_that_ends_whoever_looks_at_it_goes_aside(site: Dropping) -> None:
    with closing(Pictures(SystemClock(), command=hostile("os.abort()"))) as pictures:
        site.accepts(pictures)
        site.drop("a.json", submission(card_picture=base64_of(picture(1) + HOSTILE_MARK)))
        site.drop("b.json", submission())
        site.round()
    assert (site.names(), site.aside(), site.kept()) == ([], ["a.json", "a.json.reason.json"], 1)


def test_a_file_too_large_goes_aside(site: Dropping) -> None:
    site.drop("a.json", b" " * (watched.MAX_BYTES + 1))
    site.round()
    reason = json.loads((site.path / QUARANTINE / "a.json.reason.json").read_text("utf-8"))
    assert [fault["code"] for fault in reason["faults"]] == ["E8505"]


def test_a_file_that_breaks_us_does_not_stop_those_behind_it(
    site: Dropping, monkeypatch: pytest.MonkeyPatch
) -> None:
    understood = Intake.understood

    def breaking(intake: Intake, data: Any, folder: Path | None = None) -> Any:
        if data.get("break"):
            raise RuntimeError(NAME)
        return understood(intake, data, folder)

    monkeypatch.setattr(Intake, "understood", breaking)
    site.drop("a.json", {"break": True})
    site.drop("b.json", submission())
    site.round()
    assert (site.names(), site.kept()) == ([], 1)
    reason = (site.path / QUARANTINE / "a.json.reason.json").read_text("utf-8")
    assert "E8404" in reason
    assert NAME not in reason


def test_a_folder_that_is_gone_is_told_once_and_comes_back(
    site: Dropping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "POLL_S", 0.01)
    monkeypatch.setattr(watched, "TROUBLE_S", 0.01)
    hidden = site.path.rename(site.path.with_name("hidden"))
    stop, turns = threading.Event(), threading.Semaphore(0)

    class Beating(Heartbeat):
        def beat(self) -> None:
            turns.release()
            super().beat()

    loop = threading.Thread(target=site.folder.run, args=(Beating("folder", site.clock), stop))
    loop.start()
    try:
        for _ in range(10):
            assert turns.acquire(timeout=30)
        assert [event.code for event in site.board.events()] == ["E8531"]
        shown = site.board.snapshot()["intake"]
        assert (shown["state"], shown["code"]) == ("down", "E8531")
        assert set(shown["facts"]) == {"path", "reason"}
        (hidden / "a.json").write_text(json.dumps(submission()), "utf-8")
        hidden.rename(site.path)
        while (site.path / "a.json").exists() or site.board.snapshot()["intake"]["state"] != "ok":
            assert turns.acquire(timeout=30)
    finally:
        stop.set()
        loop.join(30)
    assert site.kept() == 1


def test_pictures_beside_the_file_are_taken_and_go_with_it(site: Dropping) -> None:
    dropping = Dropping(site.own, site.path, "idcard-read-service")
    data = {
        "Name": NAME,
        "SexName": "女",
        "NationName": "壮",
        "Born": "19900101",
        "Address": "广西测试市测试路一号",
        "IDCardNo": NUMBER,
        "GrantDept": "测试市公安局",
        "ValidBegin": "20200101",
        "ValidEnd": "长期",
        "cardPhoto": "1_card.jpg",
        "cameraPhoto": "1_live.jpg",
        "result": "passed",
        "score": 90,
    }
    dropping.drop("1.json", data)
    (site.path / "1_card.jpg").write_bytes(picture(1))
    dropping.round()
    assert dropping.names() == ["1.json", "1_card.jpg"], "its second picture is still to come"
    (site.path / "1_live.jpg").write_bytes(picture(2))
    (site.path / "other.jpg").write_bytes(picture(3))
    dropping.round()
    assert (dropping.names(), dropping.aside(), dropping.kept()) == (["other.jpg"], [], 1)
    (record,) = (row.id for row in site.own.outbox.administration.list_records(None, 9))
    assert site.own.outbox.picture(record, PictureKind.CAMERA) == picture(2)


def test_names_of_files_are_never_told(site: Dropping, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        site.drop(f"{NAME}_{NUMBER}.json", submission(score=None))
        site.drop(f"{NUMBER}.json", submission())
        site.round()
    assert "W8501" in caplog.text
    for text in (caplog.text, str(site.board.events()), str(site.board.snapshot())):
        assert NUMBER not in text
        assert NAME not in text


#: What a kiosk may do between two looks.
moves = st.lists(
    st.tuples(
        st.sampled_from(["drop", "half", "finish", "repeat", "clash", "refused", "garbage", "wait", "look"]),
        st.integers(0, 3),
    ),
    max_size=14,
)


@given(history=moves)
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_whatever_a_kiosk_does_every_good_result_is_kept_once_and_every_bad_one_is_there(
    history: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("model")
    path = home / "drop"
    path.mkdir()
    good: dict[int, dict[str, Any]] = {}
    handed: set[str] = set()
    bad = 0
    with owning(configuration(home / "site"), SystemClock()) as own:
        kiosk = Dropping(own, path)
        for number, (move, which) in enumerate(history):
            one = good.setdefault(which, submission(camera_picture=base64_of(picture(which + 20))))
            raw = json.dumps(one).encode()
            if move in {"drop", "repeat", "finish"}:
                kiosk.drop(f"{which}.json", one)
                handed.add(one["id"])
            elif move == "half" and one["id"] not in handed:
                (path / f"{which}.json").write_bytes(raw[: len(raw) // 3])
            elif move == "clash" and one["id"] in handed and not (path / f"{which}.json").exists():
                kiosk.drop(f"clash{number}.json", {**one, "score": 0.01})
                bad += 1
            elif move in {"refused", "garbage"}:
                kiosk.drop(f"{move}{number}.json", {"no": "result"} if move == "refused" else b"{")
                bad += 1
            elif move == "wait":
                kiosk.clock.seconds += SETTLE_S
            elif move == "look":
                kiosk.round()
        for _ in range(2):  # everything settles
            kiosk.round()
            kiosk.clock.seconds += SETTLE_S
            kiosk.round()
        assert kiosk.names() == []
        assert own.outbox.counts().accepted == len(handed)
        refused = [name for name in kiosk.aside() if not name.endswith(".reason.json")]
        assert len(refused) >= bad
        assert len(kiosk.aside()) == 2 * len(refused)
