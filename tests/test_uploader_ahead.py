"""Bodies made ahead: of the right records, never of an old configuration, and nobody waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hmpt_support import APP_ID, PICTURES, SECRET, TICKET
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outbox_support import HandClock, open_outbox, verification
from pictures_support import PICTURE_CHILD
from uploader_support import CLOCK, bench, platform, quick
from uploader_support import settings as site

from agent.catalogue import AgentError
from agent.config.schema import Config
from agent.hmpt.client import PlatformClient
from agent.hmpt.signing import Identity
from agent.outbox import Claim, Outbox, SettleLater
from agent.records import PictureKind
from agent.simulate.platform import Faults
from agent.uploader.ahead import MAX_SIZE, Ahead, Made
from agent.uploader.making import Maker

CONFIG = site("http://127.0.0.1:1")
NOW = HandClock().now()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with open_outbox(tmp_path) as opened:
        yield opened


class Making:
    """The real maker; it counts, can be told to wait, and breaks over the records named."""

    def __init__(self) -> None:
        client = PlatformClient(lambda: CONFIG, Identity(APP_ID, SECRET.encode(), TICKET), CLOCK)
        self._maker = Maker(client, tuple, PICTURE_CHILD.smaller)
        self.made: list[str] = []
        self.breaks: set[str] = set()
        self.may = threading.Event()
        self.may.set()

    def __call__(self, claim: Claim, config: Config) -> Made:
        self.may.wait(20)
        if claim.id in self.breaks:
            raise AgentError("E7101")
        self.made.append(claim.id)
        return self._maker.make(claim, config)


@pytest.fixture
def making() -> Making:
    return Making()


@pytest.fixture
def ahead(outbox: Outbox, making: Making) -> Iterator[Ahead]:
    made = Ahead(making, lambda most: outbox.upcoming(NOW, most), outbox.peek)
    yield made
    making.may.set()
    made.drop(wait=True)


def put(outbox: Outbox, count: int = 1, person: str | None = None, size: int = 0) -> list[str]:
    records = [verification() for _ in range(count)]
    pictures = {**PICTURES, PictureKind.CARD: PICTURES[PictureKind.CARD] + bytes(size)}
    for one in records:
        outbox.put(one, pictures, person=person or one.id, holds={})
    return [one.id for one in records]


def claimed(outbox: Outbox) -> Claim:
    claim = outbox.claim(NOW)
    assert claim is not None
    return claim


def sending() -> bool:
    return any(thread.name.startswith("ahead") for thread in threading.enumerate())


@settings(max_examples=40, deadline=None)
@given(
    waited=st.integers(0, 4),
    new=st.integers(0, 4),
    same=st.integers(0, 2),
    turn=st.integers(0, 7),
    most=st.integers(1, 4),
)
@example(waited=3, new=4, same=0, turn=2, most=3)
def test_what_is_foreseen_is_what_is_claimed(
    tmp_path_factory: pytest.TempPathFactory, waited: int, new: int, same: int, turn: int, most: int
) -> None:
    """Whoever waited and whoever is new, at any turn; one person's second record is foreseen a turn late."""
    with open_outbox(tmp_path_factory.mktemp("outbox")) as outbox:
        put(outbox, waited)
        for _ in range(waited):
            outbox.settle(claimed(outbox), SettleLater(NOW, "E4101", "x", unknown=None))
        put(outbox, new)
        put(outbox, same, person="same")
        outbox._turn = turn
        foreseen = outbox.upcoming(NOW, most)
        assert len(set(foreseen)) == len(foreseen) <= most
        claims = [outbox.claim(NOW) for _ in range(most)]
        met = [claim.id for claim in claims if claim is not None]
        assert foreseen[:1] == met[:1]
        if same < 2:
            assert foreseen == met


def test_what_was_made_ahead_is_what_would_have_been_made(
    outbox: Outbox, ahead: Ahead, making: Making
) -> None:
    ids = put(outbox, 3)
    ahead.begin(CONFIG, claimed(outbox))
    for record in ids[1:]:
        claim = claimed(outbox)
        assert claim.id == record
        found, afresh = ahead.take(claim, CONFIG), making(claim, CONFIG)
        assert found is not None
        assert found.prepared is not None
        assert afresh.prepared is not None
        assert b"".join(found.prepared.body.chunks()) == b"".join(afresh.prepared.body.chunks())
        assert replace(found.prepared, body=afresh.prepared.body) == afresh.prepared
    assert sorted(making.made) == sorted([*ids[1:], *ids[1:]])


def test_nothing_made_under_another_configuration_is_sent(outbox: Outbox, ahead: Ahead) -> None:
    put(outbox, 2)
    ahead.begin(CONFIG, claimed(outbox))
    assert ahead.take(claimed(outbox), site("http://127.0.0.1:2")) is None


def test_a_body_found_too_large_meanwhile_is_made_again(outbox: Outbox, ahead: Ahead) -> None:
    put(outbox, 2)
    ahead.begin(CONFIG, claimed(outbox))
    assert ahead.take(replace(claimed(outbox), too_large=1), CONFIG) is None


def test_one_that_cannot_be_made_is_left_to_its_claim_and_stops_no_other(
    outbox: Outbox, ahead: Ahead, making: Making
) -> None:
    first, second, third = put(outbox, 3)
    making.breaks.add(second)
    assert claimed(outbox).id == first
    ahead.begin(CONFIG, outbox.peek(first))
    assert ahead.take(claimed(outbox), CONFIG) is None
    assert ahead.take(claimed(outbox), CONFIG) is not None
    assert making.made == [third]


def test_a_closed_outbox_is_no_trouble_before_a_send(tmp_path: Path, making: Making) -> None:
    with open_outbox(tmp_path) as outbox:
        put(outbox, 2)
        first = claimed(outbox)
        ahead = Ahead(making, lambda most: outbox.upcoming(NOW, most), outbox.peek)
    ahead.begin(CONFIG, first)
    assert making.made == []
    ahead.drop(wait=True)


def test_a_large_record_is_made_and_sent_alone(outbox: Outbox, ahead: Ahead, making: Making) -> None:
    put(outbox, 1)
    put(outbox, 1, size=MAX_SIZE)
    put(outbox, 1)
    ahead.begin(CONFIG, claimed(outbox))
    large = claimed(outbox)
    assert large.size > MAX_SIZE
    assert ahead.take(large, CONFIG) is None
    assert not sending()  # what else was made is gone before the large one is opened
    ahead.begin(CONFIG, large)
    assert not sending()
    assert large.id not in making.made


def test_what_is_dropped_is_not_waited_for_and_never_used(
    outbox: Outbox, ahead: Ahead, making: Making
) -> None:
    put(outbox, 2)
    making.may.clear()
    ahead.begin(CONFIG, claimed(outbox))
    ahead.drop()
    assert ahead.take(claimed(outbox), CONFIG) is None
    making.may.set()


def test_nothing_lies_ready_in_memory_while_the_platform_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    with platform() as there, bench(tmp_path, there.url) as desk:
        for _ in range(3):
            desk.put()
        desk.delivered(3)
        there.faults = Faults(unavailable=1)
        monkeypatch.setattr("agent.uploader.backoff.BASE_S", 3600.0)
        monkeypatch.setattr("agent.uploader.backoff.PLATFORM_CAP_S", 3600.0)
        for _ in range(4):
            desk.put()
        desk.until(lambda: desk.board.snapshot()["platform"]["state"] == "waiting")
        desk.until(lambda: not sending())


def test_opening_a_picture_keeps_nobody_waiting(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gmssl a picture takes seconds to open: not the seconds of whoever stands at the desk."""
    from agent import sm

    (record,) = put(outbox, 1)
    opening, go_on = threading.Event(), threading.Event()
    unsealing = sm.sm4_gcm_open

    def slow(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        if b"picture" in aad:
            opening.set()
            go_on.wait(20)
        return unsealing(key, nonce, sealed, aad)

    monkeypatch.setattr(sm, "sm4_gcm_open", slow)
    found: list[bytes | None] = []
    reader = threading.Thread(target=lambda: found.append(outbox.picture(record, PictureKind.CARD)))
    reader.start()
    assert opening.wait(20)
    put(outbox, 1)  # would never return
    assert outbox.counts().ready == 2
    assert not found
    go_on.set()
    reader.join()
    assert found == [PICTURES[PictureKind.CARD]]


def test_a_persons_second_record_is_still_sent_after_the_first(outbox: Outbox, ahead: Ahead) -> None:
    first, second = put(outbox, 2, person="same")
    assert outbox.upcoming(NOW, 3) == [first]
    claim = claimed(outbox)
    assert outbox.upcoming(NOW, 3) == [second]
    ahead.begin(CONFIG, claim)
    outbox.settle(claim, SettleLater(NOW + timedelta(hours=1), "E4101", "x", unknown=None))
    assert ahead.take(claimed(outbox), CONFIG) is not None


def test_conventions_kept_by_another_version_give_way_to_todays(outbox: Outbox, making: Making) -> None:
    put(outbox)
    claim = outbox.claim(NOW)
    assert claim is not None
    for kept in ('{"of_another_version": 1}', "rotten"):
        made = making(replace(claim, unknown=True, kept_conventions=kept), CONFIG)
        assert made.conventions is CONFIG.platform.conventions
