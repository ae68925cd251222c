"""A PC is replaced while its service goes on: what stays behind is named, and nothing is sent from both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from admin_support import answered, owned, put, secret_file
from e2e_support import Site, wait_for
from hmpt_support import config
from outbox_support import HandClock, damage_body, verification

from agent.catalogue import AgentError
from agent.cli import transfer
from agent.control.client import ANSWER_S
from agent.control.protocol import Caller
from agent.control.verbs import Powers, handlers
from agent.outbox import SettleLater, space
from agent.ownership import ACCEPTED, Ownership, owning

KEY = "00" * 16
#: What a worn disk takes for a record: a synced commit, or two.
SLOW_SYNC_S = 0.2
NURSE = Caller(1000, 1, "nurse")


class Old:
    """The PC that is to go, its service running."""

    def __init__(self, own: Ownership, clock: HandClock) -> None:
        self.own, self.clock = own, clock
        self._verbs = handlers(Powers(own))

    def ask(self, verb: str, **args: Any) -> Any:
        return self._verbs[f"outbox.{verb}"](args, NURSE)

    def piece(self, record: str, *, move: bool = True) -> Any:
        return self.ask("export", id=record, key=KEY, label="piece", move=move)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Old]:
    monkeypatch.setattr(space, "BALLAST_BYTES", 4096)
    clock = HandClock()
    settings = config("http://127.0.0.1:1").model_copy(update={"state_dir": str(tmp_path)})
    with owning(settings, clock) as own:
        yield Old(own, clock)


def test_what_is_being_sent_while_everything_is_handed_over_is_named(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", {"platform": {"register": "never"}})
    with owned(site) as own:
        for n in range(3):
            put(own, verification(number=f"4501021990010100{n}X"))
    file, word = str(tmp_path / "records"), secret_file(tmp_path)
    # No request gets an answer: one that is answered would be seen in passing.
    with site.platform("hang=1"), site.daemon():
        wait_for("one is being sent", lambda: site.stats()["sending"] == 1)
        (sent,) = [row["id"] for row in answered(site, "outbox", "list", "--state", "sending")]
        moved = answered(site, "outbox", "export", file, "--move", "--passphrase-file", word)
    assert (moved["exported"], moved["left"]) == (2, [sent])
    new = Site(tmp_path / "new")
    answered(new, "keys", "init")
    assert answered(new, "outbox", "import", file, "--passphrase-file", word)["imported"] == 2
    # What the runbook asks for before the old PC is wiped.
    assert answered(site, "outbox", "stats")["waiting"] == 1
    rest = str(tmp_path / "rest")
    assert answered(site, "outbox", "export", rest, "--move", "--passphrase-file", word)["left"] == []
    assert answered(new, "outbox", "import", rest, "--passphrase-file", word)["imported"] == 1
    assert answered(new, "outbox", "stats")["accepted"] == 3


def test_nothing_is_sent_from_here_once_its_export_has_begun(old: Old) -> None:
    first, second = (put(old.own, verification(number=number)) for number in ("1", "2"))
    assert old.ask("exportable", move=True) == [first, second]
    assert old.own.outbox.claim(old.clock.now()) is None
    for record in (first, second):
        old.clock.seconds += 50.0  # longer in all than one pause
        old.piece(record)
        assert old.own.outbox.claim(old.clock.now()) is None
    assert old.ask("exported", ids=[first], file="f", move=True, whole=True, last=True)["left"] == [second]
    claim = old.own.outbox.claim(old.clock.now())
    assert claim is not None
    assert claim.id == second


def test_nothing_is_sent_from_here_however_long_the_handing_over_takes(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [put(old.own, verification(number=str(number))) for number in range(4)]
    for record in ids:
        old.piece(record)
    claimed, hand_over = [], old.own.outbox.administration.hand_over

    def slowly(record: str, who: str, file: str) -> None:
        hand_over(record, who, file)
        old.clock.seconds += 40.0  # a disk that is slow to sync, and thousands before this one
        claimed.append(old.own.outbox.claim(old.clock.now()))

    monkeypatch.setattr(old.own.outbox.administration, "hand_over", slowly)
    assert old.ask("exported", ids=ids, file="f", move=True, whole=True, last=True)["left"] == []
    assert claimed == [None] * 4


def test_what_is_handed_over_at_once_is_done_before_the_answer_is_due() -> None:
    asked: list[int] = []

    class Owner:
        def ask(self, _verb: str, args: dict[str, Any]) -> dict[str, Any]:
            asked.append(len(args["ids"]))
            return {"exported": len(args["ids"]), "followups": 0, "left": []}

    records = [f"{number:032x}" for number in range(250)]
    for move, most in ((True, transfer.AT_ONCE), (False, transfer.IDS)):
        asked.clear()
        done = transfer._noted(Owner(), Path("f"), records, whole=True, move=move)  # type: ignore[arg-type]
        assert (done["exported"], max(asked) <= most) == (250, True)
    assert transfer.AT_ONCE * SLOW_SYNC_S < ANSWER_S


def test_an_export_that_was_given_up_holds_nobody_up_for_long(old: Old) -> None:
    put(old.own, verification())
    old.ask("exportable", move=True)
    old.clock.seconds += 61.0
    assert old.own.outbox.claim(old.clock.now()) is not None


def test_a_copy_for_keeping_stops_nothing_and_misses_nothing(old: Old) -> None:
    record = put(old.own, verification())
    claim = old.own.outbox.claim(old.clock.now())
    assert claim is not None
    assert old.ask("exportable") == [record]
    with pytest.raises(AgentError, match="E3115"):
        old.piece(record, move=False)
    old.own.outbox.settle(claim, SettleLater(old.clock.now(), "E4103", "", unknown=True))
    old.piece(record, move=False)
    assert old.own.outbox.claim(old.clock.now()) is not None
    assert old.ask("exported", ids=[], file="f", move=False)["left"] == []


def test_what_the_desk_made_during_the_export_is_named(old: Old) -> None:
    first = put(old.own, verification())
    old.ask("exportable", move=True)
    late = put(old.own, verification(number="2"))
    old.piece(first)
    assert old.ask("exported", ids=[first], file="f", move=True, whole=True, last=True)["left"] == [late]


def test_nobody_takes_a_record_out_unseen(old: Old) -> None:
    record = put(old.own, verification())
    old.piece(record, move=False)
    (line,) = old.own.audit.select(10, lambda line: line["what"] == "record.exported")
    assert (line["object"], line["who"]) == (record, NURSE.name)


@pytest.mark.parametrize("sent", [False, True])
def test_an_export_brings_back_what_cannot_be_read_any_more(old: Old, tmp_path: Path, sent: bool) -> None:
    one = verification()
    piece = old.piece(put(old.own, one), move=False)["piece"]
    if sent:
        claim = old.own.outbox.claim(old.clock.now())
        assert claim is not None
        old.own.outbox.settle(claim, SettleLater(old.clock.now(), "E4103", "", unknown=True))
    old.own.outbox.upkeep.checkpoint()
    damage_body(tmp_path)
    old.own.outbox.upkeep.scrub(10**9)
    assert old.ask("stats")["quarantined"] == 1
    assert old.ask("import", piece=piece, key=KEY, label="piece")["new"] is True
    stats = old.ask("stats")
    assert (stats["ready"], stats["waiting"], stats["quarantined"], stats["difference"]) == (1, 1, 0, 0)
    assert old.ask("import", piece=piece, key=KEY, label="piece")["new"] is False
    claim = old.own.outbox.claim(old.clock.now())
    assert claim is not None
    assert (claim.verification, claim.unknown, claim.attempts) == (one, sent, 1 + sent)
    written = sum(old.own.audit.count(what) for what in ACCEPTED)
    assert written == old.own.outbox.counts().accepted, "or the next start misses a record"


def test_an_import_leaves_the_room_that_what_is_here_needs_to_leave(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(old.own, verification())
    piece = old.piece(record)["piece"]
    assert old.own.ballast.restore()
    free = old.own.ballast.needed() + 1000
    monkeypatch.setattr("agent.outbox.store.free_bytes", lambda _folder: free)
    with pytest.raises(AgentError, match="E3102"):
        old.ask("import", piece=piece, key=KEY, label="piece")
    assert old.own.ballast.stands()
    monkeypatch.undo()
    assert old.ask("import", piece=piece, key=KEY, label="piece")["new"] is False
