"""The twenty classes of what a platform and a network can do, each with its outcome and its code.

Numbers are those of the table in docs/platform.md. A record of each kind meets the real uploader, outbox
and simulated platform; what the wire alone tells is tested in test_hmpt_client.py.
"""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hmpt_support import APP_ID, SECRET, TICKET
from outbox_support import verification
from pictures_support import HOSTILE_MARK, PICTURE_CHILD, hostile
from uploader_support import CLOCK, Bench, bench, platform, quick, settings

from agent.clock import Trust
from agent.outbox import SettleBack
from agent.records import Hold, PictureKind, Verification
from agent.simulate.answer import Answer
from agent.simulate.dialect import Dialect
from agent.simulate.judgement import Request
from agent.simulate.platform import Faults, SimulatedPlatform
from agent.uploader.making import shrunk
from agent.vision.pictures import Pictures
from drivers.card import CardKind


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)


def working(desk: Bench) -> None:
    """Have one record accepted, so that the lane is known to work."""
    desk.put()
    desk.delivered(1)


BAD = {"address": "路" * 101}  # goes whole (R9), and the platform's column has a hundred


def bad(**change: Any) -> Verification:
    return replace(verification(), **(change or BAD))


# --- answers that befall one request: what they are called, and that the record arrives all the same ----------


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut_request", {"E4104", "E4105"}),  # 3, or 4 where all had left our side
        ("lost_answer", {"E4105"}),  # 4
        ("reset", {"E4105"}),  # 4
        ("truncated", {"E4105"}),  # 4
        ("gateway", {"E4108"}),  # 4
        ("limited", {"E4201"}),  # 5
        ("unavailable", {"E4201"}),  # 5
        ("error", {"E5001"}),  # 6
        ("unauthorized", {"E4303"}),  # 7
        ("forbidden", {"E4303"}),  # 7
        ("system", {"E5006"}),  # 12
        ("missing", {"E4302"}),  # 14
        ("redirect", {"E4302"}),  # 14
        ("html", {"E4302"}),  # 14
        ("html_after", {"E4302"}),  # 14
        ("garbage", {"E5002"}),  # 16
        ("empty", {"E5002"}),  # 16
        ("charset", {"E5002"}),  # 16
        ("undecipherable", {"E5002"}),  # 16
        ("huge", {"E5008"}),  # 16
        ("wrong_id", {"E5005"}),  # 17
        ("no_id", {"E5005"}),  # 17
        ("forge", {"E5003"}),  # 18
        ("stale", {"E5010"}),  # 18
        ("unsigned", {"E5009"}),  # 18
        ("contradict", {"E5007"}),  # 19
    ],
)
def test_what_befalls_one_request_is_told_and_the_record_goes_again_under_its_id(
    tmp_path: Path, fault: str, code: set[str]
) -> None:
    with platform(Faults(retry_after=0)) as there, bench(tmp_path, there.url) as desk:
        working(desk)
        there.order(fault)
        record = desk.put()
        desk.delivered(2)
        assert desk.codes() & code
        attempts = desk.outbox.administration.attempts(record)
        assert len(attempts) > 1
        assert {attempt.request_id for attempt in attempts} == {record}
        assert attempts[0].code in code
        counts = desk.outbox.counts()
        assert (counts.parked, counts.difference) == (0, 0)
        # 1: the receipt is that of the answer that was believed.
        (receipt,) = [one for one in desk.outbox.administration.receipts(9) if one.id == record]
        assert receipt.signed


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        working(desk)
        there.order("bom")
        record = desk.put()
        desk.delivered(2)
        assert len(desk.outbox.administration.attempts(record)) == 1


# --- 2: not connected ---------------------------------------------------------------------------------


def test_2_nobody_there_stops_the_lane_and_touches_no_record(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with bench(tmp_path, f"http://127.0.0.1:{port}", register="never") as desk:
        for _ in range(3):
            desk.put()
        desk.until(lambda: "E4101" in desk.codes())
        assert desk.outbox.counts().parked == 0
        with platform(port=port) as there:
            there.enter_by_hand([("SIM-0000777", "0000777")])
            desk.delivered(3)


# --- 6, 12, 19: the platform fails over one record ------------------------------------------------------


class Picky(SimulatedPlatform):
    """A platform that fails over some records and no others: request id -> fault."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.sick: dict[str, str] = {}
        super().__init__(*args, **more)

    def serve(self, request: Request, names: frozenset[str]) -> Answer:
        fault = self.sick.get(request.request_id)
        return super().serve(request, names | {fault} if fault else names)


def picky(**more: Any) -> Picky:
    return Picky(SECRET, APP_ID, TICKET, **more)


@pytest.mark.parametrize(
    ("fault", "code", "least"), [("system", "E5108", 5), ("error", "E5108", 5), ("contradict", "E5109", 3)]
)
def test_6_12_19_a_record_over_which_it_fails_alone_is_parked_after_a_few(
    tmp_path: Path, fault: str, code: str, least: int
) -> None:
    there = picky()
    with there, bench(tmp_path, there.url) as desk:
        working(desk)
        sick = verification()
        there.sick[sick.id] = fault
        desk.put(sick)
        for _ in range(200):
            if desk.state(sick.id) == "parked":
                break
            tries = len(ended(desk, sick.id))
            desk.until(lambda: len(ended(desk, sick.id)) > tries or desk.state(sick.id) == "parked")  # noqa: B023
            well = desk.put()
            desk.until(lambda: desk.state(well) == "delivered")  # noqa: B023
        assert desk.state(sick.id) == "parked"
        assert desk.outbox.administration.row(sick.id).last_code == code
        assert len(ended(desk, sick.id)) >= least
        assert code in desk.codes()
        # A person may send it again once the platform is mended.
        there.sick.clear()
        desk.outbox.administration.retry(sick.id)
        desk.uploader.wake()
        desk.until(lambda: desk.state(sick.id) == "delivered")


def ended(desk: Bench, record: str) -> list[Any]:
    return [one for one in desk.outbox.administration.attempts(record) if one.outcome is not None]


def test_6_a_platform_that_fails_over_everybody_parks_nobody(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        working(desk)
        there.faults = Faults(error=1)
        records = [desk.put() for _ in range(3)]
        desk.until(lambda: sum(len(ended(desk, record)) for record in records) > 20)
        assert desk.outbox.counts().parked == 0
        there.faults = Faults()
        desk.delivered(4)


# --- 8, 9, 10: alike on the wire, told apart by who else is refused ----------------------------------------


@pytest.mark.parametrize("manner", ["named", "vague", "alike", "http"])
@pytest.mark.parametrize("fault", ["clock", "secret"])
def test_8_a_wrong_clock_or_secret_parks_nobody(tmp_path: Path, manner: str, fault: str) -> None:
    dialect = Dialect(refusals=manner, answer_time="unsigned")
    with platform(dialect=dialect) as there, bench(tmp_path, there.url) as desk:
        working(desk)
        if fault == "clock":
            there.faults = Faults(skew=3600.0, on="all")
        else:
            there.dialect = replace(dialect, sign_template="{time}{id}")
        records = [desk.put() for _ in range(6)]
        desk.until(lambda: bool({"E5102", "E5110"} & desk.codes()))
        desk.until(lambda: sum(len(ended(desk, record)) for record in records) > 15)
        assert desk.board.snapshot()["platform"]["state"] == "waiting"
        assert desk.outbox.counts().parked == 0
        if fault == "clock" and manner != "http":
            desk.until(lambda: "W7508" in desk.codes())
            told = [event for event in desk.board.events() if event.code == "W7508"]
            assert abs(float(told[0].facts["skew"]) - 3600) < 5
        there.faults, there.dialect = Faults(), dialect
        desk.delivered(7)
        assert desk.outbox.counts().difference == 0


def test_8_a_clock_that_is_off_is_made_up_for_where_that_is_wanted(tmp_path: Path) -> None:
    there = platform(Faults(skew=3600.0, on="all"))
    with there, bench(tmp_path, there.url, correct_skew=True) as desk:
        desk.put()
        desk.delivered(1)
        assert desk.skews
        assert abs(desk.skews[-1] - 3600) < 5


def test_8_9_until_one_is_accepted_a_refusal_is_a_fault_of_the_conventions(tmp_path: Path) -> None:
    with platform(dialect=Dialect(sex_width="2")) as there, bench(tmp_path, there.url) as desk:
        records = [desk.put() for _ in range(4)]
        desk.until(lambda: "E5105" in desk.codes())
        assert not desk.board.snapshot()["platform"]["proven"]
        assert desk.outbox.counts().parked == 0
        desk.live.replace(settings(there.url, conventions={"sex_width": 2}))
        desk.uploader.reconsider()
        desk.delivered(4)
        desk.until(lambda: bool(desk.board.snapshot()["platform"]["proven"]))
        # Again after each change: what was proven says nothing of the new conventions.
        desk.live.replace(settings(there.url, conventions={"sex_width": 1}))
        desk.uploader.reconsider()
        late = desk.put()
        desk.until(lambda: desk.outbox.administration.row(late).last_code == "E5105")
        assert records


def test_9_one_bad_record_is_parked_with_what_is_odd_about_it(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        working(desk)
        record = desk.put(bad())
        desk.until(lambda: len(ended(desk, record)) > 0)
        assert desk.state(record) != "parked"
        desk.put()
        desk.until(lambda: desk.state(record) == "parked")
        row = desk.outbox.administration.row(record)
        assert row.last_code == "E5101"
        assert "address: 101 characters, VARCHAR(100)" in str(row.last_detail)


def test_10_a_disabled_device_waits_and_the_administrator_is_named(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        working(desk)
        there.enter_by_hand([("SIM-0000777", "0000777")], enabled=False)
        for _ in range(4):
            desk.put()
        desk.until(lambda: "E5106" in desk.codes())
        (told,) = [event for event in desk.board.events() if event.code == "E5106"]
        assert told.facts["device"] == "SIM-0000777/0000777"
        assert desk.outbox.counts().parked == 0
        there.enter_by_hand([("SIM-0000777", "0000777")])
        desk.delivered(5)


@pytest.mark.parametrize("manner", ["named", "alike"])
def test_10_another_device_waits_without_holding_up_ours(tmp_path: Path, manner: str) -> None:
    with platform(dialect=Dialect(refusals=manner)) as there, bench(tmp_path, there.url) as desk:
        working(desk)
        old = [desk.put(bad(device_no="0000776", machine_code="SIM-0000776")) for _ in range(3)]
        ours = []
        while "E5106" not in desk.codes():
            ours.append(desk.put())
            desk.until(lambda: desk.state(ours[-1]) == "delivered")
            assert len(ours) < 300
        desk.until(lambda: desk.board.snapshot()["platform"]["state"] == "ok")
        assert desk.outbox.counts().parked == 0
        there.enter_by_hand([("SIM-0000776", "0000776")])
        desk.delivered(1 + len(ours) + len(old), 40)


# --- 11: registration ---------------------------------------------------------------------------------


def test_11_a_device_that_was_entered_by_hand_counts_as_registered(tmp_path: Path) -> None:
    with platform() as there:
        there.enter_by_hand([("SIM-0000777", "0000777")])
        with bench(tmp_path, there.url) as desk:
            working(desk)
            assert "I5004" in desk.codes()
            desk.until(lambda: bool(desk.board.snapshot()["platform"]["registered"]))


def test_11_a_registration_that_nobody_confirmed_is_told(tmp_path: Path) -> None:
    with platform() as there:
        there.enter_by_hand([("SIM-0000777", "0000777")])
        with bench(tmp_path, there.url, register="never") as desk:
            desk.until(lambda: "W5112" in desk.codes())
        with bench(tmp_path, there.url) as desk:
            working(desk)
        with bench(tmp_path, there.url, register="never") as desk:
            desk.put()
            desk.delivered(2)
            assert "W5112" not in desk.codes()


def test_another_address_is_another_platform(tmp_path: Path) -> None:
    """What a rehearsal accepted proves nothing, and what it made us wait for is no reason to wait."""
    with platform() as rehearsal, bench(tmp_path, rehearsal.url) as desk:
        working(desk)
        rehearsal.faults = Faults(unavailable=1, retry_after=3600)
        desk.put()
        desk.until(lambda: "E4201" in desk.codes())
    with platform() as there, bench(tmp_path, there.url) as desk:
        assert not desk.board.snapshot().get("platform", {}).get("proven")
        desk.delivered(2)


def test_11_a_registration_that_is_refused_sends_no_record(tmp_path: Path) -> None:
    with platform(Faults(refuse=1, on="registrations")) as there, bench(tmp_path, there.url) as desk:
        record = desk.put()
        desk.until(lambda: "E5111" in desk.codes())
        assert desk.outbox.administration.attempts(record) == []


# --- 13: too large ------------------------------------------------------------------------------------


def photograph(side: int) -> bytes:
    noise = np.random.default_rng(3).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.GaussianBlur(noise, (5, 5), 0))[1].tobytes())


def test_13_what_is_too_large_goes_smaller_once_and_the_original_stays(tmp_path: Path) -> None:
    pictures = {PictureKind.CARD: photograph(200), PictureKind.CAMERA: photograph(700)}
    limit = sum(map(len, pictures.values()))
    with platform(dialect=Dialect(body_limit=limit)) as there, bench(tmp_path, there.url) as desk:
        working(desk)
        one = verification()
        desk.outbox.put(one, pictures, person=one.id, holds={})
        desk.uploader.wake()
        desk.until(lambda: desk.state(one.id) == "delivered")
        first, second = desk.outbox.administration.attempts(one.id)
        assert (first.code, second.outcome) == ("E5104", "delivered")
        assert second.length is not None
        assert first.length is not None
        assert second.length < first.length / 2
        # The platform has what the attempt says, and the outbox what the camera said.
        assert there.accepted()[-1]["bodySm3"] == second.sm3
        assert desk.outbox.picture(one.id, PictureKind.CAMERA) == pictures[PictureKind.CAMERA]


def test_13_what_is_too_large_even_so_is_parked(tmp_path: Path) -> None:
    there = picky()
    with there, bench(tmp_path, there.url) as desk:
        working(desk)
        one = verification()
        there.sick[one.id] = "too_large"
        desk.put(one)
        desk.until(lambda: desk.state(one.id) == "parked")
        assert desk.outbox.administration.row(one.id).last_code == "E5104"
        assert len(desk.outbox.administration.attempts(one.id)) == 2


def test_13_what_cannot_be_made_smaller_just_now_waits_and_holds_nobody_up(tmp_path: Path) -> None:
    pictures = {PictureKind.CARD: photograph(200), PictureKind.CAMERA: photograph(700)}
    dialect = Dialect(body_limit=sum(map(len, pictures.values())))
    with (
        platform(dialect=dialect) as there,
        bench(tmp_path, there.url) as desk,
        closing(Pictures(CLOCK, command=["/bin/false"])) as broken,
    ):
        working(desk)
        desk.pictures = broken
        one = verification()
        desk.outbox.put(one, pictures, person=one.id, holds={})
        desk.uploader.wake()
        desk.until(lambda: "E2308" in desk.codes())
        other = desk.put()
        desk.until(lambda: desk.state(other) == "delivered")
        assert desk.state(one.id) in {"ready", "sending"}
        desk.pictures = PICTURE_CHILD
        desk.until(lambda: desk.state(one.id) == "delivered")
        sent = [attempt for attempt in desk.outbox.administration.attempts(one.id) if attempt.length]
        assert [attempt.code for attempt in sent][:1] == ["E5104"]
        assert len(sent) == 2, "it was never sent as large as before"


def test_13_a_picture_that_ends_whoever_makes_it_smaller_stays_as_it_is() -> None:
    picture = photograph(600)[:-2] + HOSTILE_MARK + b"\xff\xd9"
    with closing(Pictures(CLOCK, command=hostile("os.abort()"))) as pictures:
        assert shrunk(picture, pictures.smaller) == picture
        assert shrunk(photograph(600), pictures.smaller) == shrunk(photograph(600), PICTURE_CHILD.smaller)


def test_13_a_smaller_picture_is_always_the_same() -> None:
    picture = photograph(600)
    small = shrunk(picture, PICTURE_CHILD.smaller)
    assert small == shrunk(picture, PICTURE_CHILD.smaller)
    assert len(small) < len(picture) / 2
    assert shrunk(small[:10], PICTURE_CHILD.smaller) == small[:10]
    broken = b"\xff\xd8\xff" + bytes(50_000) + b"\xff\xd9"
    assert shrunk(broken, PICTURE_CHILD.smaller) == broken


# --- 15, 7: everybody -----------------------------------------------------------------------------------


def test_15_a_media_type_that_is_not_taken_stops_the_lane(tmp_path: Path) -> None:
    dialect = Dialect(content_type="text/json", refusals="http")
    with platform(dialect=dialect) as there, bench(tmp_path, there.url) as desk:
        desk.put()
        desk.until(lambda: bool({"E4304", "E5111"} & desk.codes()))
        desk.live.replace(settings(there.url, conventions={"content_type": "text/json"}))
        desk.uploader.reconsider()
        desk.delivered(1)


def test_7_a_refused_ticket_burns_nothing_of_the_backlog(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        working(desk)
        there.faults = Faults(unauthorized=1)
        records = [desk.put() for _ in range(5)]
        desk.until(lambda: sum(len(ended(desk, record)) for record in records) > 5)
        assert [event.code for event in desk.board.events()].count("E4303") == 1
        there.faults = Faults()
        desk.delivered(6)


# --- duplicates, 18, 20 -----------------------------------------------------------------------------------


def test_a_duplicate_after_a_lost_answer_is_shown_and_not_sent_again(tmp_path: Path) -> None:
    with platform(dialect=Dialect(repeats="refused")) as there, bench(tmp_path, there.url) as desk:
        working(desk)
        there.order("lost_answer")
        record = desk.put()
        desk.until(lambda: desk.state(record) == "parked")
        assert desk.outbox.administration.row(record).last_code == "W5107"
        tries = len(desk.outbox.administration.attempts(record))
        desk.put()
        desk.delivered(2)
        assert len(desk.outbox.administration.attempts(record)) == tries == 2
        assert [line["requestId"] for line in there.accepted()].count(record) == 1


def test_18_after_a_signed_answer_unsigned_ones_are_doubted_until_a_person_says_otherwise(
    tmp_path: Path,
) -> None:
    with platform() as there:
        with bench(tmp_path, there.url) as desk:
            working(desk)
            assert desk.signing.seen()
        there.dialect = Dialect(answer_time="unsigned")
        # The memory outlives the process.
        with bench(tmp_path, there.url) as desk:
            record = desk.put()
            desk.until(lambda: "E5009" in desk.codes())
            assert desk.state(record) != "delivered"
            desk.signing.forget()
            desk.delivered(2)


def test_20_a_clock_that_cannot_be_right_signs_nothing(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url, started=False) as desk:
        desk.trust = Trust.UNSET
        desk.start()
        record = desk.put()
        desk.until(lambda: "E7503" in desk.codes())
        assert desk.board.snapshot()["platform"]["code"] == "E7503"
        assert desk.outbox.administration.attempts(record) == []
        desk.trust = Trust.NTP
        desk.delivered(1)
        desk.until(lambda: desk.board.snapshot()["platform"]["state"] == "ok")


def test_a_clock_that_nobody_confirmed_is_asked_about_when_there_is_nothing_to_send(tmp_path: Path) -> None:
    with platform(Faults(skew=200.0, on="all")) as there:
        with bench(tmp_path, there.url) as desk:
            desk.until(lambda: bool(desk.skews))
        with bench(tmp_path, there.url, started=False) as desk:
            desk.trust = Trust.UNCHECKED
            desk.start()
            desk.until(lambda: bool(desk.skews))
            assert abs(desk.skews[0] - 200) < 5
            desk.until(lambda: "W7508" in desk.codes())


def test_20_what_fails_its_own_checks_is_held_with_the_field_named(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        records = [
            desk.put(bad(name="韦\x00某")),
            desk.put(bad(card_kind=CardKind.UNKNOWN)),
            desk.put(bad(face=replace(verification().face, score=None))),
        ]
        for record, field in zip(records, ("realName", "cardType", "faceScore"), strict=True):
            desk.until(lambda: desk.state(record) == "held")  # noqa: B023
            assert field in desk.outbox.administration.row(record).holds[Hold.FIELD.value]
            assert desk.outbox.administration.attempts(record)[0].request_id is None


# --- what waits -----------------------------------------------------------------------------------------


def test_what_was_never_understood_does_not_keep_its_conventions(tmp_path: Path) -> None:
    """A platform that fails inside over every body may have been sent nonsense: a new convention must apply."""
    dialect = Dialect(padding="zero", refusals="http500", answer_time="unsigned")
    with platform(dialect=dialect) as there, bench(tmp_path, there.url, register="never") as desk:
        there.enter_by_hand([("SIM-0000777", "0000777")])
        record = desk.put()
        desk.until(lambda: desk.outbox.administration.row(record).unknown)
        desk.live.replace(settings(there.url, register="never", conventions={"padding": "zero"}))
        desk.uploader.reconsider()
        desk.delivered(1)


def test_what_may_be_there_already_comes_again_in_the_same_form(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url) as desk:
        working(desk)
        there.faults = Faults(lost_answer=1)
        record = desk.put()
        desk.until(lambda: desk.outbox.administration.row(record).unknown)
        there.faults = Faults()
        desk.live.replace(settings(there.url, conventions={"score_decimals": 4}))
        desk.uploader.reconsider()
        desk.until(lambda: desk.state(record) == "delivered")
        sent = {line["bodySm3"] for line in there.accepted() if line["requestId"] == record}
        assert len(sent) == 1
        fresh = desk.put()
        desk.until(lambda: desk.state(fresh) == "delivered")


def test_a_record_that_was_given_back_was_never_sent(tmp_path: Path) -> None:
    with platform() as there, bench(tmp_path, there.url, started=False) as desk:
        record = desk.put()
        claim = desk.outbox.claim(CLOCK.now())
        assert claim is not None
        desk.outbox.settle(claim, SettleBack(CLOCK.now()))
        row = desk.outbox.administration.row(record)
        assert (row.state, row.attempts) == ("ready", 0)
        assert desk.outbox.administration.attempts(record) == []
        assert desk.outbox.counts().difference == 0
        desk.start()
        desk.delivered(1)
