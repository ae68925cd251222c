"""The intake over HTTP: kept once, answered after the commit, every fault at once, nothing else let in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from intake_support import HandingIn, base64_of, handing_in, picture, submission
from outbox_support import NAME, NUMBER
from pictures_support import HOSTILE_MARK, PICTURE_CHILD, hostile

from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.intake import keeping, openapi
from agent.outbox import Outbox
from agent.records import FaceResult, PictureKind
from agent.vision.pictures import Pictures

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandingIn]:
    with handing_in(tmp_path_factory.mktemp("site")) as one:
        # The outbox seals in threads of its own, which start with the first record.
        one.intake.keep(submission())
        yield one


def test_a_result_is_kept_as_it_was_handed_in(kiosk: HandingIn) -> None:
    finger = {"result": "failed", "score": 0.25, "picture": base64_of(picture(3))}
    one = submission(finger=finger)
    answer = kiosk.post(one)
    assert answer.status_code == 201, answer.text
    assert answer.json()["state"] == "ready"
    assert answer.json()["holds"] == {}
    record = answer.json()["record"]
    kept = kiosk.own.outbox.verification(record)
    assert (kept.name, kept.number, kept.birth, kept.valid_until) == (NAME, NUMBER, "19900101", "长期")
    assert kept.face.result is FaceResult.PASSED
    assert kept.face.score == 0.87
    assert kept.face.cosine is None
    assert kept.source == f"intake:{one['id']}"
    assert kept.verified_at.isoformat() == "2026-03-01T01:00:00+00:00"
    assert kept.finger is not None
    assert (kept.finger.score, kept.finger.result) == (0.25, 0)
    for kind, seed in ((PictureKind.CARD, 1), (PictureKind.CAMERA, 2), (PictureKind.FINGER, 3)):
        assert kiosk.own.outbox.picture(record, kind) == picture(seed)


def test_the_same_again_is_the_same_record_and_another_content_is_refused(kiosk: HandingIn) -> None:
    one = submission()
    first, again = kiosk.post(one), kiosk.post(one)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = kiosk.post({**one, "score": 0.88})
    assert (other.status_code, other.json()["code"]) == (409, "E8503")
    accepted = kiosk.own.outbox.counts().accepted
    assert kiosk.own.audit.count("record.accepted") == accepted
    assert kiosk.own.outbox.verification(first.json()["record"]).face.score == 0.87


def test_one_id_from_many_threads_is_one_record(kiosk: HandingIn) -> None:
    one = submission()
    before = kiosk.own.outbox.counts().accepted
    kept: list[keeping.Kept] = []
    hands = [threading.Thread(target=lambda: kept.append(kiosk.intake.keep(one))) for _ in range(8)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(60)
    assert len({each.record for each in kept}) == 1
    assert sum(each.new for each in kept) == 1
    assert kiosk.own.outbox.counts().accepted == before + 1
    assert kiosk.own.audit.count("record.accepted") == before + 1


@pytest.mark.parametrize(
    ("result", "score", "wanted"),
    [("failed", 0.1, "W2001"), ("not_verified", None, "W2002"), ("not_verified", 0, "W2002")],
)
def test_what_did_not_pass_is_told_like_at_the_desk(
    kiosk: HandingIn, result: str, score: float | None, wanted: str
) -> None:
    answer = kiosk.post(submission(result=result, score=score))
    assert answer.status_code == 201, answer.text
    record = answer.json()["record"]
    told = [event.code for event in kiosk.intake._parts.board.events() if event.facts.get("record") == record]
    assert told == ["I3001", wanted]
    assert kiosk.own.outbox.verification(record).face.result.name.lower() == result
    # Whom the police or the desk must still see is on the list by the same commit.
    assert record in [case.id for case in kiosk.own.outbox.followups.listed()]
    assert kiosk.own.outbox.followups.person(record).number == NUMBER


def test_what_is_missing_for_the_platform_holds_the_record_and_is_said(kiosk: HandingIn) -> None:
    bare = dict.fromkeys(("sex", "nation", "birth", "address", "issuer", "valid_from", "valid_until"))
    answer = kiosk.post(submission(card=bare, operator=None))
    assert answer.status_code == 201
    assert answer.json()["state"] == "held"
    holds = answer.json()["holds"]
    assert set(holds) == {"nation", "address", "issuer", "field"}  # the site has a default operator
    for field in ("sexCode", "birthday", "cardStartDate", "cardEndDate"):
        assert field in holds["field"]
    other = kiosk.post(submission(card={"kind": "other", "number": "E12345678", "nation": "01"}))
    assert other.json()["state"] == "ready"


EVERY_FAULT = {
    "id": "no blanks here",
    "verified_at": "2026-03-01 09:00",
    "device_no": "0000778",
    "card": {
        "kind": "passport",
        "number": 45,
        "sex": "F",
        "nation": "壮",
        "birth": "1990-02-30",
        "address": "长" * 201,
        "valid_until": "2020-13-45",
        "issuer": "a\u0007b",
        "race": "?",
    },
    "result": "passed",
    "card_picture": "§§§",
    "camera_picture": base64_of(b"GIF89a no picture"),
    "finger": {"result": "failed", "score": 1.5},
    "operator": "一二三四五六七八九十一",
    "extra": 1,
}


def test_every_fault_is_told_at_once_with_its_place(kiosk: HandingIn) -> None:
    assert kiosk.faults(EVERY_FAULT) == sorted(
        [
            ("E8513", "/id"),
            ("E8513", "/verified_at"),
            ("E8517", "/device_no"),
            ("E8512", "/card/kind"),
            ("E8510", "/card/name"),
            ("E8511", "/card/number"),
            ("E8512", "/card/sex"),
            ("E8513", "/card/nation"),
            ("E8513", "/card/birth"),
            ("E8513", "/card/address"),
            ("E8513", "/card/valid_until"),
            ("E8513", "/card/issuer"),
            ("E8514", "/card/race"),
            ("E8516", "/score"),
            ("E8515", "/card_picture"),
            ("E8515", "/camera_picture"),
            ("E8513", "/finger/score"),
            ("E8513", "/operator"),
            ("E8514", "/extra"),
        ]
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"score": None}, ("E8516", "/score")),
        ({"result": "not_verified"}, ("E8516", "/score")),
        ({"score": "0.9"}, ("E8511", "/score")),
        ({"score": True}, ("E8511", "/score")),
        ({"score": 87}, ("E8513", "/score")),
        ({"result": "ok"}, ("E8512", "/result")),
        ({"result": None}, ("E8510", "/result")),
        ({"camera_picture": None}, ("E8510", "/camera_picture")),
        ({"camera_picture": 1}, ("E8511", "/camera_picture")),
        ({"verified_at": "2999-01-01T00:00:00Z"}, ("E8518", "/verified_at")),
        ({"verified_at": "1999-01-01T00:00:00Z"}, ("E8518", "/verified_at")),
        ({"verified_at": "0001-01-01T00:00:00+14:00"}, ("E8518", "/verified_at")),
        ({"verified_at": 1772326800}, ("E8511", "/verified_at")),
        ({"card": {"name": " "}}, ("E8513", "/card/name")),
        ({"card": {"name": "\ud800"}}, ("E8513", "/card/name")),
        ({"card": [1]}, ("E8511", "/card")),
        ({"finger": {"result": "passed"}}, ("E8516", "/finger/score")),
    ],
)
def test_each_rule_alone(kiosk: HandingIn, change: dict[str, Any], fault: tuple[str, str]) -> None:
    assert kiosk.faults(submission(**change)) == [fault]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"id": "a", "id": "b"}',
        b'{"score": NaN}',
        b'{"score": Infinity}',
        b"[" * 100_000,
        b'{"card": ' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"score": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_not_one_clear_json_is_refused(kiosk: HandingIn, body: bytes) -> None:
    assert kiosk.faults(body) == [("E8506", "")]


def test_a_value_that_is_no_object_is_refused(kiosk: HandingIn) -> None:
    for body in (b"[]", b"1", b'"text"', b"null"):
        assert kiosk.faults(body) == [("E8511", "")]


@pytest.mark.parametrize("shown", [None, "", "wrong", "t0ken", "ü" * 20])
def test_without_the_token_nothing_is_read(kiosk: HandingIn, shown: str | None) -> None:
    header = {} if shown is None else {"Authorization": f"Bearer {shown}".encode()}
    answer = kiosk.post(b"{", token=None, headers=header)
    assert (answer.status_code, answer.json()["code"]) == (401, "E8502")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_goes_by_bearer_alone(kiosk: HandingIn) -> None:
    from intake_support import TOKEN

    for scheme in ("Basic", "Token", ""):
        answer = kiosk.post(submission(), token=None, headers={"Authorization": f"{scheme} {TOKEN}".strip()})
        assert answer.status_code == 401


def test_too_much_is_refused_before_it_is_understood(kiosk: HandingIn) -> None:
    answer = kiosk.post(b" " * (11 * 2**20))
    assert (answer.status_code, answer.json()["code"]) == (413, "E8505")
    assert kiosk.faults(b" " * (9 * 2**20)) == [("E8506", "")], "three large pictures are not too much"


def test_more_at_once_than_there_is_room_for_are_asked_to_wait(
    kiosk: HandingIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, entered = threading.Event(), threading.Semaphore(0)

    def slow(_intake: Any, _data: Any) -> keeping.Kept:
        entered.release()
        release.wait(60)
        return keeping.Kept("0" * 32, "ready", {}, new=True)

    monkeypatch.setattr(keeping.Intake, "keep", slow)
    hands = [threading.Thread(target=kiosk.post, args=(submission(),)) for _ in range(2)]
    for hand in hands:
        hand.start()
    for _ in hands:
        assert entered.acquire(timeout=30)
    answer = kiosk.post(submission())
    release.set()
    for hand in hands:
        hand.join(30)
    assert (answer.status_code, answer.json()["code"]) == (429, "E8504")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_picture_that_nobody_could_look_at_is_asked_for_again(tmp_path: Path) -> None:
    with (
        closing(Pictures(SystemClock(), command=["/bin/false"])) as pictures,
        handing_in(tmp_path, pictures=pictures) as kiosk,
    ):
        answer = kiosk.post(submission())
        assert (answer.status_code, answer.json()["code"]) == (503, "E2308")
        assert int(answer.headers["Retry-After"]) > 0
        assert kiosk.own.outbox.counts().accepted == 0
        topic = kiosk.intake._parts.board.snapshot()["intake"]
        assert (topic["state"], topic["code"]) == ("down", "E2308"), "status and the page's tab say so"
        assert topic["facts"] == {"reason": "it ended with status 1"}
        kiosk.intake._parts = replace(kiosk.intake._parts, accept=PICTURE_CHILD.accepted)
        assert kiosk.post(submission()).status_code == 201
        topic = kiosk.intake._parts.board.snapshot()["intake"]
        assert (topic["state"], topic["code"]) == ("ok", None)


def test_a_picture_that_ends_whoever_looks_at_it_is_a_fault_and_the_next_one_is_kept(tmp_path: Path) -> None:
    crashing = hostile("os.kill(os.getpid(), signal.SIGSEGV)")
    bad = base64_of(picture(1) + HOSTILE_MARK)
    with (
        closing(Pictures(SystemClock(), command=crashing)) as pictures,
        handing_in(tmp_path, pictures=pictures) as kiosk,
    ):
        assert kiosk.post(submission()).status_code == 201
        assert kiosk.faults(submission(card_picture=bad, camera_picture="§§§")) == [
            ("E8515", "/camera_picture"),
            ("E8515", "/card_picture"),
        ]
        assert kiosk.post(submission()).status_code == 201
        assert kiosk.own.outbox.counts().accepted == 2


@pytest.mark.parametrize(("code", "status"), [("E3101", 507), ("E3102", 507), ("E3103", 503)])
def test_no_room_and_a_failing_disk_are_told_apart(
    kiosk: HandingIn, monkeypatch: pytest.MonkeyPatch, code: str, status: int
) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise AgentError(code, used=1, limit=1, reason="full")

    monkeypatch.setattr(Outbox, "put", refuse)
    answer = kiosk.post(submission())
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) is (status == 503)


def test_a_full_outbox_refuses_the_kiosk_and_keeps_what_it_has(tmp_path: Path) -> None:
    with handing_in(tmp_path, {"outbox": {"max_bytes": "1100KiB"}}) as kiosk:
        statuses: list[int] = []
        first = submission()
        assert kiosk.post(first).status_code == 201
        while 507 not in statuses and len(statuses) < 50:
            statuses.append(
                kiosk.post(submission(camera_picture=base64_of(picture(9, side=320)))).status_code
            )
        assert set(statuses) == {201, 507}
        counts = kiosk.own.outbox.counts()
        assert counts.accepted == 1 + statuses.count(201)
        assert kiosk.post(first).status_code == 200, "what is kept is said to be kept, however full it is"
        assert counts.difference == 0


def test_the_document_that_is_served_is_the_one_that_is_committed(kiosk: HandingIn) -> None:
    committed = json.loads((ROOT / "docs/intake-openapi.json").read_text("utf-8"))
    assert kiosk.one.get("/api/intake/v1/openapi.json").json() == committed == openapi.document()


def test_nobody_is_named_in_answers_journal_board_or_files(
    kiosk: HandingIn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        answers = [kiosk.post(submission(id=f"{NUMBER}-1"))]
        answers.append(kiosk.post(submission(card={"name": NAME + "\u0007", "number": NUMBER + "x" * 40})))
        answers.append(kiosk.post(json.dumps({"name": NAME})))
    texts = [caplog.text, str(kiosk.intake._parts.board.events()), *(answer.text for answer in answers)]
    assert "I3001" in caplog.text
    for text in texts:
        assert NAME not in text
        assert NUMBER not in text
    for path in kiosk.own.state_dir.rglob("*"):
        if path.is_file():
            assert NUMBER.encode() not in path.read_bytes(), path.name
