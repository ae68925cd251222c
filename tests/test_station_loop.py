"""The desk's loop with a real reader line, decoder program, vision process and outbox."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drivers_support import CARDS, simulated, until
from hmpt_support import config as platform_config
from outbox_support import SEAL_KEYS
from pictures_support import PICTURE_CHILD
from vision_support import need_weights, still, vision

from agent import logs
from agent.audit import Audit
from agent.board import Board
from agent.clock import SystemClock
from agent.config.schema import Config
from agent.followups import FollowUps
from agent.operators import Operators
from agent.outbox import Outbox
from agent.records import FaceResult, PictureKind
from agent.station import Ending, EndIt, Parts, Station
from agent.supervisor import Loop
from drivers import photo
from drivers.discovery import open_transport
from drivers.errors import PhotoError
from drivers.sdt.reader import SdtReader
from drivers.simulator.reader import SimulatedReader

CLOCK = SystemClock()


class Broken:
    """A decoder that never works."""

    def decode(self, photo_block: bytes) -> bytes:
        raise PhotoError(reason="status 3")


class Desk:
    """A running station."""

    def __init__(
        self, folder: Path, reader: SimulatedReader, eyes: Any, decoder: photo.PhotoDecoder, **changes: Any
    ) -> None:
        base = platform_config("http://127.0.0.1:1").model_dump(by_alias=True)
        settings = Config.model_validate({**base, "operators": {"default": "甲"}, **changes})
        line = str(folder / "reader")
        reader.link(Path(line))
        self.outbox = Outbox.open(folder, SEAL_KEYS, CLOCK, 2**30)
        self.audit = Audit(folder / "audit.jsonl", b"k", CLOCK)
        self.board = Board(CLOCK)
        self.operators = Operators(lambda: settings, CLOCK)
        self.kept = 0
        self.station = Station(
            Parts(
                config=lambda: settings,
                open_reader=lambda: SdtReader(open_transport(line), time.monotonic, line),
                decoder=decoder,
                vision=eyes,
                outbox=self.outbox,
                audit=self.audit,
                board=self.board,
                clock=CLOCK,
                pseudonyms=logs.Pseudonyms(b"k"),
                uptime=lambda: None,
                record_kept=self._count,
                operator=self.operators.in_force,
            )
        )
        self.loop = Loop("station", self.station.run, CLOCK, self.board)

    def _count(self) -> None:
        self.kept += 1

    def screen(self) -> str:
        return str(self.board.snapshot().get("screen", {}).get("code", ""))

    def close(self) -> None:
        self.loop.ask_to_stop()
        assert self.loop.join(30)
        self.outbox.close()
        self.audit.close()


@contextmanager
def desk(
    folder: Path,
    *,
    decoder: photo.PhotoDecoder | None = None,
    before: Callable[[Desk], None] | None = None,
    empty: bool = False,
    **changes: Any,
) -> Iterator[tuple[Desk, SimulatedReader]]:
    need_weights()
    picture = still(folder / "camera.png")
    if empty:
        empty_chair(folder)
    with simulated() as reader, vision(picture, attempts=1) as (eyes, _):
        made = Desk(
            folder,
            reader,
            eyes,
            decoder or photo.build("simulated", [], "block", 20.0, PICTURE_CHILD.one_colour),
            **changes,
        )
        if before is not None:
            before(made)
        made.loop.start()
        try:
            yield made, reader
        finally:
            made.close()


def test_a_card_becomes_a_record_with_its_own_pictures(tmp_path: Path) -> None:
    with desk(tmp_path) as (one, reader):
        until(lambda: one.screen() == "I1001")
        reader.place(CARDS[0])
        until(lambda: one.kept == 1, 30)
        claim = one.outbox.claim(CLOCK.now())
        assert claim is not None
        found = claim.verification
        assert (found.name, found.number, found.nation_code) == (
            CARDS[0].name,
            CARDS[0].number,
            CARDS[0].nation_code,
        )
        assert found.face.result is FaceResult.PASSED
        assert found.operator == "甲"
        assert abs((CLOCK.now() - found.verified_at).total_seconds()) < 30
        assert one.outbox.picture_kinds(found.id) == {
            PictureKind.CAMERA,
            PictureKind.CARD,
            PictureKind.PHOTO_BLOCK,
        }
        assert one.audit.count("record.accepted") == 1
        assert one.outbox.interrupted() == []


def test_a_photo_that_is_not_decoded_is_held_with_its_block(tmp_path: Path) -> None:
    with desk(tmp_path, decoder=Broken()) as (one, reader):
        reader.place(CARDS[0])
        until(lambda: one.kept == 1, 30)
        (held,) = one.outbox.held()
        assert {hold.value for hold in held.holds} == {"card_picture"}
        assert one.outbox.picture_kinds(held.id) == {PictureKind.CAMERA, PictureKind.PHOTO_BLOCK}
        assert one.outbox.verification(held.id).face.reason == "photo_undecoded"
        until(lambda: one.screen() == "W3004")
        (case,) = one.outbox.followups.listed()
        assert (case.id, case.reason) == (held.id, "not_verified")


def empty_chair(folder: Path) -> None:
    cv2.imwrite(str(folder / "camera.png"), np.full((720, 1280, 3), 120, np.uint8))


def desk_state(one: Desk) -> dict[str, Any]:
    return one.board.snapshot().get("desk", {})


def test_the_wrong_card_is_called_off_while_the_camera_looks(tmp_path: Path) -> None:
    with desk(tmp_path, empty=True) as (one, reader):
        reader.place(CARDS[0])
        until(lambda: desk_state(one).get("preview") is True, 30)
        one.station.tell(EndIt(Ending.WRONG_CARD, "nurse"))
        until(lambda: one.screen() == "W1013", 30)
        assert one.outbox.counts().accepted == 0
        assert one.audit.count("attempt.wrong_card") == 1
        assert one.outbox.followups.listed() == []
        # The mark goes with the attempt: after a restart nobody is asked again.
        assert marks(one) == 0


def marks(one: Desk) -> int:
    return int(one.outbox._owner.run(lambda c: c.execute("SELECT count(*) FROM opened").fetchone()[0]))


def test_a_woman_who_refuses_is_followed_up_and_can_be_closed_by_name(tmp_path: Path) -> None:
    with desk(tmp_path, empty=True) as (one, reader):
        reader.place(CARDS[0])
        until(lambda: desk_state(one).get("preview") is True, 30)
        one.station.tell(EndIt(Ending.REFUSED, "nurse"))
        until(lambda: one.screen() == "W1016", 30)
        list_ = FollowUps(one.outbox, one.audit)
        (case,) = list_.open()
        assert case.reason == "refused"
        person = list_.person(case.id, "head nurse")
        assert (person.name, person.number) == (CARDS[0].name, CARDS[0].number)
        assert CARDS[0].number not in repr(person)
        list_.close(case.id, "head nurse", "证件与本人一致")
        assert list_.open() == []
        assert one.audit.count("followup.closed") == 1


def test_another_card_meanwhile_ends_the_look_and_gets_its_own(tmp_path: Path) -> None:
    with desk(tmp_path, empty=True) as (one, reader):
        reader.place(CARDS[0])
        until(lambda: desk_state(one).get("preview") is True, 30)
        first = desk_state(one)["attempt"]
        reader.lift()
        reader.place(CARDS[1])
        until(lambda: desk_state(one).get("attempt") not in {"", first}, 30)
        assert one.outbox.counts().accepted == 0
        assert one.audit.count("attempt.exchanged") == 1


class Defective:
    """A decoder with a defect of ours in it, once."""

    def __init__(self) -> None:
        self.asked = 0

    def decode(self, photo_block: bytes) -> bytes:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("a defect of ours")
        raise PhotoError(reason="status 3")


def test_a_look_that_fails_unexpectedly_is_told_and_the_next_card_is_served(tmp_path: Path) -> None:
    with desk(tmp_path, decoder=Defective()) as (one, reader):
        reader.place(CARDS[0])
        until(lambda: one.screen() == "E2306", 30)
        assert marks(one) == 0
        reader.lift()
        reader.place(CARDS[1])
        until(lambda: one.kept == 1, 60)
        assert one.loop.restarts == 0


class Slow:
    """A decoder that takes until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def decode(self, photo_block: bytes) -> bytes:
        self.go.wait(30)
        raise PhotoError(reason="status 3")


def test_what_is_said_while_the_photo_is_decoded_is_not_forgotten(tmp_path: Path) -> None:
    slow = Slow()
    with desk(tmp_path, decoder=slow) as (one, reader):
        reader.place(CARDS[0])
        until(lambda: desk_state(one).get("preview") is True, 30)
        one.station.tell(EndIt(Ending.IMPOSSIBLE, "nurse"))
        slow.go.set()
        until(lambda: one.screen() == "W1017", 30)
        assert one.outbox.counts().accepted == 0


def test_without_an_operator_the_record_waits_for_one(tmp_path: Path) -> None:
    with desk(tmp_path, operators={"default": None}) as (one, reader):
        reader.place(CARDS[0])
        until(lambda: one.kept == 1, 30)
        (held,) = one.outbox.held()
        assert [hold.value for hold in held.holds] == ["operator"]
        one.operators.sign_in("乙", "nurse")
        reader.lift()
        reader.place(CARDS[1])
        until(lambda: one.kept == 2, 30)
        assert [record.id for record in one.outbox.held()] == [held.id]


def test_a_full_outbox_is_told_before_a_woman_is_asked_to_look_up(tmp_path: Path) -> None:
    def nearly_full(one: Desk) -> None:
        one.outbox._max_bytes = 1_100_000

    with desk(tmp_path, before=nearly_full) as (one, reader):
        reader.place(CARDS[0])
        until(lambda: one.kept == 1, 30)
        reader.lift()
        reader.place(CARDS[1])
        until(lambda: one.screen() == "E3101", 30)
        assert one.outbox.counts().accepted == 1
        assert one.outbox.interrupted() == []
        told = [event.code for event in one.board.events()].count("E3101")
        assert told == 1
        assert one.outbox.picture_kinds(one.outbox.administration.list_records(None, 1)[0].id)
        one.outbox._max_bytes = 2**30
        reader.lift()
        reader.place(CARDS[1])
        until(lambda: one.kept == 2, 30)


def test_a_loop_that_dies_amid_an_attempt_starts_afresh_and_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.supervisor.RESTART_PAUSES_S", (0.05,))
    died = threading.Event()

    def dies_once(one: Desk) -> None:
        real = one.outbox.put

        def put(*args: Any, **kwargs: Any) -> None:
            if not died.is_set():
                died.set()
                raise RuntimeError("a defect of ours")
            real(*args, **kwargs)

        monkeypatch.setattr(one.outbox, "put", put)

    with desk(tmp_path, before=dies_once) as (one, reader):
        reader.place(CARDS[0])
        until(died.is_set, 30)
        until(lambda: one.screen() == "W1001", 30)
        assert one.outbox.counts().accepted == 0
        reader.lift()
        reader.place(CARDS[0])
        until(lambda: one.kept == 1, 30)
        assert one.loop.restarts == 1


def test_an_unplugged_reader_is_told_once_and_works_again(tmp_path: Path) -> None:
    with desk(tmp_path) as (one, reader):
        until(lambda: one.screen() == "I1001")
        reader.unplug()
        until(lambda: one.screen() in {"E1103", "E1101"}, 30)
        until(lambda: one.screen() == "I1001", 30)
        reader.place(CARDS[2])
        until(lambda: one.kept == 1, 30)
        told = [event.code for event in one.board.events() if event.code.startswith("E11")]
        assert len(told) <= 2
