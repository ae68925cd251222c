"""Held records complete by themselves when what was missing comes; what only a person knows stays held."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hmpt_support import config
from outbox_support import SEAL_KEYS, damage_body, verification
from pictures_support import PICTURE_CHILD
from vision_support import need_weights, picture, still, vision

from agent.audit import Audit
from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.completion import COMPARE_ROUNDS, Completion, Parts
from agent.config.schema import Config, Operators
from agent.heartbeat import Heartbeat
from agent.live import Live
from agent.operators import SignedIn
from agent.outbox import Ballast, Outbox, space, store
from agent.records import (
    FACE,
    FaceResult,
    FaceVerdict,
    Hold,
    PictureKind,
    Supplement,
    Verification,
    supplemented,
)
from agent.simulate import portraits
from agent.verify import reasons_to_hold
from agent.vision.pictures import Pictures
from drivers.errors import PhotoError

CLOCK = SystemClock()
BMP = cv2.imencode(".bmp", np.full((126, 102, 3), 90, np.uint8))[1].tobytes()


class Decoder:
    """A decoder that works when told to."""

    def __init__(self) -> None:
        self.works = False
        self.asked = 0

    def decode(self, photo_block: bytes) -> bytes:
        self.asked += 1
        if not self.works:
            raise PhotoError(reason="status 3")
        return BMP


class Bench:
    """A completion loop that is turned by hand."""

    def __init__(self, folder: Path) -> None:
        self.live = Live(config("http://127.0.0.1:1"))
        self.ballast = Ballast(folder, 2**20)
        self.outbox = Outbox.open(folder, SEAL_KEYS, CLOCK, 2**30, ballast=self.ballast)
        self.audit = Audit(folder / "audit.jsonl", b"k", CLOCK)
        self.decoder = Decoder()
        self.board = Board(CLOCK)
        self.woken = 0
        self.signed_in: SignedIn | None = None
        self.parts = Parts(
            self.live.config,
            self.decoder,
            PICTURE_CHILD.encoded,
            self.outbox,
            self.audit,
            self.board,
            CLOCK,
            self._wake,
            operator=lambda: self.signed_in,
        )
        self.completion = Completion(self.parts)

    def _wake(self) -> None:
        self.woken += 1

    def round(self) -> None:
        self.completion.round(Heartbeat("c", CLOCK), threading.Event())

    def put(self, one: Verification, *, with_card: bool = True) -> str:
        pictures = {PictureKind.CAMERA: b"\xff\xd8", PictureKind.PHOTO_BLOCK: b"block"}
        if with_card:
            pictures[PictureKind.CARD] = b"\xff\xd8"
        holds = reasons_to_hold(one, pictures, self.live.config().platform.conventions.substitutes)
        self.outbox.put(one, pictures, person=one.id, holds=holds)
        return one.id

    def configured(self, **changes: object) -> None:
        self.live.replace(
            Config.model_validate(self.live.config().model_copy(update=changes).model_dump(by_alias=True))
        )


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    made = Bench(folder)
    try:
        yield made
    finally:
        made.outbox.close()
        made.audit.close()


def test_a_card_picture_comes_when_the_decoder_works(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        first, second = (desk.put(verification(), with_card=False) for _ in range(2))
        desk.round()
        assert desk.decoder.asked == 1, "a decoder that failed is not tried on the next record of the round"
        assert desk.outbox.administration.row(first).holds == {"card_picture": "headImg"}
        desk.decoder.works = True
        desk.round()
        for record in (first, second):
            assert desk.outbox.administration.row(record).state == "ready"
            picture = desk.outbox.picture(record, PictureKind.CARD)
            assert picture is not None
            assert picture.startswith(b"\xff\xd8\xff")
        assert desk.woken == 2
        assert desk.audit.count("record.supplemented") == 2


def test_a_late_picture_does_not_take_the_room_in_which_a_full_disk_drains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path) as desk:
        first, second = (desk.put(verification(), with_card=False) for _ in range(2))
        assert desk.ballast.restore()
        desk.decoder.works = True
        with monkeypatch.context() as full:
            full.setattr(store, "free_bytes", lambda _: space.RESERVE_BYTES)
            desk.round()
        assert desk.decoder.asked == 2, "the next record is looked at all the same"
        assert desk.ballast.stands()
        assert desk.audit.count("record.supplemented") == 0
        assert desk.outbox.administration.row(first).state == "held"
        desk.round()
        assert desk.outbox.administration.row(second).state == "ready"


def test_a_picture_that_nobody_could_look_at_is_no_fault_of_the_decoder(tmp_path: Path) -> None:
    with bench(tmp_path) as desk, closing(Pictures(CLOCK, desk.board, command=["/bin/false"])) as broken:
        desk.decoder.works = True
        working, desk.completion = desk.completion, Completion(replace(desk.parts, encoded=broken.encoded))
        record = desk.put(verification(), with_card=False)
        desk.round()
        assert desk.outbox.administration.row(record).state == "held"
        assert "decoder" not in desk.board.snapshot()
        assert [event.code for event in desk.board.events()] == ["E2308"]
        desk.completion = working
        desk.round()
        assert desk.outbox.administration.row(record).state == "ready"


def test_an_operator_comes_with_the_configuration(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        record = desk.put(replace(verification(), operator=""))
        desk.round()
        assert desk.outbox.administration.row(record).state == "held"
        desk.configured(operators=Operators(default="新操作员"))
        desk.round()
        assert desk.outbox.administration.row(record).state == "ready"
        assert desk.outbox.verification(record).operator == "新操作员"


def test_an_operator_comes_with_whoever_signs_in(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        record = desk.put(replace(verification(), operator=""))
        desk.round()
        assert desk.outbox.administration.row(record).state == "held"
        desk.signed_in = SignedIn("乙", "nurse/wei", until=9)
        desk.round()
        assert desk.outbox.administration.row(record).state == "ready"
        assert desk.outbox.verification(record).operator == "乙"
        (line,) = desk.audit.select(9, lambda line: line["what"] == "record.supplemented")
        assert (line["who"], line["source"]) == ("nurse/wei", "sign-in")


def test_a_damaged_block_costs_its_record_alone(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        bad, good = (desk.put(verification(), with_card=False) for _ in range(2))
    damage_body(tmp_path, "picture:photo_block")
    with bench(tmp_path) as desk:
        desk.decoder.works = True
        desk.round()
        assert desk.outbox.administration.row(bad).state == "quarantined"
        assert desk.outbox.administration.row(good).state == "ready"


def test_what_only_a_person_knows_stays_held(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        record = desk.put(replace(verification(), nation_code="", address=""))
        desk.round()
        assert desk.outbox.administration.row(record).holds == {
            "nation": "nationalCode",
            "address": "address",
        }
        substituted = desk.live.config().platform.conventions.model_dump() | {
            "substitutes": {"nation_code": "01", "address": "无"}
        }
        platform = desk.live.config().platform.model_dump(by_alias=True) | {"conventions": substituted}
        desk.live.replace(
            Config.model_validate(desk.live.config().model_dump(by_alias=True) | {"platform": platform})
        )
        desk.round()
        assert desk.outbox.administration.row(record).state == "ready"


def test_a_clock_that_was_not_trusted_stays_a_reason(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        record = desk.put(replace(verification(), clock_trusted=False))
        desk.round()
        assert desk.outbox.administration.row(record).holds == {Hold.CLOCK.value: "verifyTime"}


def test_a_field_fault_is_looked_at_again_only_under_another_configuration(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        record = desk.put(verification())
        desk.round()
        claim = desk.outbox.claim(CLOCK.now())
        assert claim is not None
        from agent.outbox import SettleHeld

        desk.outbox.settle(claim, SettleHeld({Hold.FIELD: "realName: too long"}))
        desk.round()
        assert desk.outbox.administration.row(record).state == "held"
        desk.configured(operators=Operators(default="甲"))
        desk.round()
        assert desk.outbox.administration.row(record).state == "ready"


# --- the comparison that the desk could not make ----------------------------------------------------


class Portrait:
    """A decoder that has come to work: the chip shows a given person."""

    def __init__(self, name: str) -> None:
        image = cv2.resize(picture(portraits.path(name)), (102, 126), interpolation=cv2.INTER_AREA)
        self._bmp = cv2.imencode(".bmp", image)[1].tobytes()

    def decode(self, photo_block: bytes) -> bytes:
        return self._bmp


def undecoded() -> Verification:
    return replace(verification(), face=FaceVerdict(FaceResult.NOT_VERIFIED, reason="photo_undecoded"))


def live(name: str) -> bytes:
    return cv2.imencode(".jpg", portraits.live(name))[1].tobytes()


@pytest.mark.parametrize(("on_card", "passes"), [("collins", True), ("hopper", False)])
def test_a_late_picture_is_compared_and_a_late_failure_is_an_alarm(
    on_card: str, passes: bool, tmp_path: Path
) -> None:
    need_weights()
    with bench(tmp_path) as desk, vision(still(tmp_path / "camera.png")) as (eyes, _):
        desk.completion = Completion(replace(desk.parts, decoder=Portrait(on_card), compare=eyes.compare))
        one = undecoded()
        pictures = {PictureKind.CAMERA: live("collins"), PictureKind.PHOTO_BLOCK: b"block"}
        desk.outbox.put(one, pictures, person=one.id, holds={Hold.CARD_PICTURE: "headImg"})
        (opened,) = desk.outbox.followups.listed()
        assert opened.reason == "not_verified"
        if not passes:
            # Somebody has settled it meanwhile: a failure opens it again.
            desk.outbox.followups.close(one.id, "nurse", "seen")
        desk.round()
        assert desk.outbox.administration.row(one.id).state == "ready"
        found = desk.outbox.verification(one.id).face
        assert found.result is (FaceResult.PASSED if passes else FaceResult.FAILED)
        assert found.score is not None
        told = [event.code for event in desk.board.events()]
        assert ("W2003" in told) is not passes
        (case,) = desk.outbox.followups.listed()
        assert case.reason == ("not_verified" if passes else "failed")
        assert desk.outbox.followups.person(one.id).number == one.number


def test_a_late_comparison_waits_for_the_desk_and_not_for_ever_for_a_dead_engine(tmp_path: Path) -> None:
    with bench(tmp_path) as desk:
        code = "E2305"

        def compare(card: bytes, camera: bytes) -> FaceVerdict:
            raise AgentError(code)

        desk.decoder.works = True
        desk.completion = Completion(replace(desk.parts, compare=compare))
        record = desk.put(undecoded(), with_card=False)
        for _ in range(COMPARE_ROUNDS + 5):
            desk.round()
        assert desk.outbox.administration.row(record).state == "held", "the desk goes first"
        code = "E2301"
        for expected in [*["held"] * (COMPARE_ROUNDS - 1), "ready"]:
            desk.round()
            assert desk.outbox.administration.row(record).state == expected
        assert desk.outbox.verification(record).face.reason == "photo_undecoded"


def test_a_verdict_of_the_desk_is_never_replaced() -> None:
    late = Supplement(FACE, json.dumps(FaceVerdict(FaceResult.PASSED).to_values()), "x", CLOCK.now())
    failed = replace(verification(), face=FaceVerdict(FaceResult.FAILED, cosine=0.1, score=0.2))
    assert supplemented(failed, [late]) == failed
    assert supplemented(undecoded(), [late]).face.result is FaceResult.PASSED
