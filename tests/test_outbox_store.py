"""The outbox's promises, one by one, on a real file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from outbox_support import (
    NAME,
    NUMBER,
    PICTURES,
    SEAL_KEY,
    START,
    HandClock,
    damage_body,
    open_outbox,
    receipt,
    verification,
)

from agent.catalogue import AgentError
from agent.outbox import (
    Claim,
    Outbox,
    SealKeys,
    SettleDelivered,
    SettleHeld,
    SettleLater,
    SettleParked,
    claims,
    owner,
)
from agent.records import Hold, PictureKind, Supplement

REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"


def put(
    outbox: Outbox, count: int = 1, person: str = "p1", holds: dict[Hold, str] | None = None
) -> list[str]:
    made = [verification(at=START + timedelta(seconds=number)) for number in range(count)]
    for number, one in enumerate(made):
        outbox.put(one, PICTURES, person=f"{person}{number}", holds=holds or {})
    return [one.id for one in made]


def claimed(outbox: Outbox, clock: HandClock) -> Claim:
    claim = outbox.claim(clock.now())
    assert claim is not None
    return claim


def note(outbox: Outbox, claim: Claim, conventions: str = "{}") -> None:
    outbox.note_attempt(
        claim,
        request_id=claim.id,
        conventions_fingerprint=f"f{hash(conventions) % 1000}",
        conventions_json=conventions,
        sm3_hex="00" * 32,
        length=10,
    )


def test_what_was_put_comes_out_as_it_was_and_is_delivered_once(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        one = verification()
        outbox.put(one, PICTURES, person="p", holds={})
        claim = claimed(outbox, clock)
        assert claim.verification == one
        assert claim.picture(PictureKind.CAMERA) == PICTURES[PictureKind.CAMERA]
        assert claim.picture(PictureKind.FINGER) is None
        assert outbox.claim(clock.now()) is None
        note(outbox, claim)
        outbox.settle(claim, SettleDelivered(receipt(one.id)))
        counts = outbox.counts()
        assert (counts.accepted, counts.delivered, counts.difference) == (1, 1, 0)
        assert [row.request_id for row in outbox.administration.receipts(10)] == [one.id]
        assert [row.outcome for row in outbox.administration.attempts(one.id)] == ["delivered"]


def test_the_same_again_is_success_and_other_content_is_not(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        one = verification("a" * 32)
        outbox.put(one, PICTURES, person="p", holds={})
        outbox.put(one, PICTURES, person="p", holds={})
        assert outbox.counts().accepted == 1
        with pytest.raises(AgentError, match="E3109"):
            outbox.put(one, {PictureKind.CAMERA: b"other"}, person="p", holds={})
        assert outbox.counts().accepted == 1


def test_nothing_of_a_person_stands_in_any_file(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        outbox.open_attempt("b" * 32)
        put(outbox, 2, holds={Hold.OPERATOR: "operationUser"})
        for held in outbox.held():
            outbox.supplement(held.id, Supplement("operator", "秘密操作员", "nobody", clock.now()))
    canaries = [NAME, NUMBER, "秘密操作员", "19900101", "测试路"]
    raw = [text.encode(form) for text in canaries for form in ("utf-8", "utf-16-le")]
    raw += [b"camera picture", b"card picture"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not [canary for canary in raw if canary in content], path.name


def test_a_claim_of_a_dead_process_returns_and_its_answer_is_unknown(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        put(outbox, 1)
        note(outbox, claimed(outbox, clock), '{"padding": "zero"}')
    with open_outbox(tmp_path, clock) as outbox:
        assert outbox.counts().ready == 1
        again = claimed(outbox, clock)
        assert again.attempts == 2
        assert again.kept_conventions == '{"padding": "zero"}'
        assert [row.outcome for row in outbox.administration.attempts(again.id)] == ["interrupted", None]


def test_a_record_that_keeps_killing_its_sender_steps_aside(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        (poison,) = put(outbox, 1)
        for _ in range(claims.DEATHS_BEFORE_ASIDE):
            assert claimed(outbox, clock).id == poison
            outbox.return_abandoned()
        assert outbox.claim(clock.now()) is None
        clock.seconds += 17
        assert claimed(outbox, clock).id == poison
        outbox.return_abandoned()
        outbox.make_due()
        assert claimed(outbox, clock).id == poison


def test_a_claim_that_was_never_sent_does_not_bind_the_conventions(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        put(outbox, 1)
        claimed(outbox, clock)
    with open_outbox(tmp_path, clock) as outbox:
        assert claimed(outbox, clock).kept_conventions is None


@pytest.mark.parametrize(("then", "kept"), [(None, True), (False, False), (True, True)])
def test_an_unknown_answer_stays_unknown_until_the_platform_answers(
    tmp_path: Path, then: bool | None, kept: bool
) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        put(outbox, 1)
        for unknown in (True, then):
            claim = claimed(outbox, clock)
            note(outbox, claim)
            outbox.settle(claim, SettleLater(clock.now(), "E5001", "", unknown=unknown))
        assert (claimed(outbox, clock).kept_conventions is not None) == kept


def test_a_stale_token_changes_nothing(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        put(outbox, 1)
        first = claimed(outbox, clock)
        outbox.return_abandoned()
        second = claimed(outbox, clock)
        with pytest.raises(AgentError, match="E3112"):
            outbox.settle(first, SettleDelivered(receipt(first.id)))
        with pytest.raises(AgentError, match="E3112"):
            note(outbox, first)
        assert outbox.counts().sending == 1
        note(outbox, second)
        outbox.settle(second, SettleDelivered(receipt(second.id)))
        assert outbox.counts().difference == 0


def test_a_backed_off_record_waits_and_blocks_nobody(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        first, second = put(outbox, 2)
        claim = claimed(outbox, clock)
        assert claim.id == first
        outbox.settle(claim, SettleLater(clock.now() + timedelta(minutes=5), "E4101", "x", unknown=None))
        assert claimed(outbox, clock).id == second
        assert outbox.claim(clock.now()) is None
        clock.seconds += 301
        assert claimed(outbox, clock).id == first


def test_a_time_set_by_a_wrong_clock_does_not_bury_a_record(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        put(outbox, 1)
        outbox.settle(
            claimed(outbox, clock),
            SettleLater(clock.now() + timedelta(days=3650), "E4101", "x", unknown=None),
        )
        assert claimed(outbox, clock).attempts == 2


def test_records_of_one_person_leave_in_their_order_but_only_due_ones_count(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        later = verification(at=START + timedelta(hours=1))
        earlier = verification(at=START)
        outbox.put(later, PICTURES, person="same", holds={})
        outbox.put(earlier, PICTURES, person="same", holds={})
        claim = claimed(outbox, clock)
        assert claim.id == earlier.id
        outbox.settle(claim, SettleLater(clock.now() + timedelta(hours=1), "E4101", "x", unknown=None))
        assert claimed(outbox, clock).id == later.id


def test_three_new_records_leave_for_each_one_that_waited(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        waited = set(put(outbox, 3, person="old"))
        for _ in waited:
            outbox.settle(claimed(outbox, clock), SettleLater(clock.now(), "E4101", "x", unknown=None))
        put(outbox, 9, person="new")
        outbox._turn = 0
        order = [claimed(outbox, clock).id in waited for _ in range(8)]
        assert order == [False, False, False, True] * 2


def test_claiming_uses_the_index_and_sorts_nothing(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        put(outbox, 1)
    connection = sqlite3.connect(tmp_path / "outbox.db")
    first = {"lane": 0, "now": 1, "most": 1}
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + claims.DUE, first)]
    connection.close()
    assert any("USING INDEX record_due (lane=?" in line for line in plan)
    assert any("USING INDEX record_person" in line for line in plan)
    assert not any("TEMP B-TREE" in line or line.startswith("SCAN") for line in plan)


def test_held_records_complete_by_supplements_and_the_original_stays(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        one = verification()
        without = {PictureKind.CAMERA: b"jpeg"}
        outbox.put(one, without, person="p", holds={Hold.CARD_PICTURE: "headImg", Hold.OPERATOR: "x"})
        assert outbox.claim(clock.now()) is None
        outbox.supplement(one.id, Supplement("operator", "甲", "it", clock.now()))
        outbox.supplement(one.id, Supplement("operator", "乙", "it", clock.now()))
        outbox.add_picture(one.id, PictureKind.CARD, b"late picture")
        with pytest.raises(AgentError, match="E3109"):
            outbox.add_picture(one.id, PictureKind.CARD, b"another")
        outbox.rehold(one.id, {})
        claim = claimed(outbox, clock)
        assert claim.verification.operator == "乙"
        assert claim.verification.verified_at == one.verified_at
        assert claim.picture(PictureKind.CARD) == b"late picture"
        with pytest.raises(AgentError, match="E3115"):
            outbox.supplement(one.id, Supplement("operator", "丙", "it", clock.now()))


def test_parked_records_wait_for_a_person(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        (record,) = put(outbox, 1)
        outbox.settle(claimed(outbox, clock), SettleParked("E5101", "500 A2301"))
        clock.seconds += 10**6
        assert outbox.claim(clock.now()) is None
        assert outbox.administration.row(record).last_detail == "500 A2301"
        outbox.administration.retry(record)
        assert claimed(outbox, clock).id == record
        with pytest.raises(AgentError, match="E3115"):
            outbox.administration.retry(record)
        with pytest.raises(AgentError, match="E3110"):
            outbox.administration.retry("f" * 32)


def test_a_render_fault_holds_with_the_field_named(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        (record,) = put(outbox, 1)
        outbox.settle(claimed(outbox, clock), SettleHeld({Hold.FIELD: "realName: too long"}))
        assert outbox.administration.row(record).holds == {"field": "realName: too long"}
        assert outbox.held()[0].holds == {Hold.FIELD: "realName: too long"}


def test_an_opened_attempt_is_remembered_until_it_ended_or_was_told(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        one = verification()
        for attempt in (one.id, "c" * 32, "d" * 32):
            outbox.open_attempt(attempt)
        assert outbox.interrupted() == []
        outbox.put(one, PICTURES, person="p", holds={})
        outbox.close_attempt("c" * 32)
    with open_outbox(tmp_path) as outbox:
        assert outbox.interrupted() == ["d" * 32]
        outbox.clear_interrupted()
        assert outbox.interrupted() == []


def test_a_full_quota_refuses_and_touches_nothing(tmp_path: Path) -> None:
    with open_outbox(tmp_path, max_bytes=3000) as outbox:
        put(outbox, 1)
        with pytest.raises(AgentError, match="E3101"):
            put(outbox, 2, person="q")
        counts = outbox.counts()
        assert counts.accepted - counts.difference == counts.ready >= 1


def test_purging_erases_key_and_bodies_but_not_the_receipt(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        delivered, waiting = put(outbox, 2)
        claim = claimed(outbox, clock)
        note(outbox, claim)
        outbox.settle(claim, SettleDelivered(receipt(delivered)))
        assert outbox.upkeep.erase(timedelta(hours=24)) == 0
        clock.seconds += 25 * 3600
        assert outbox.upkeep.erase(timedelta(hours=24)) == 1
        assert outbox.picture_kinds(delivered) == set()
        with pytest.raises(AgentError, match="E7302"):
            outbox.verification(delivered)
        assert [row.id for row in outbox.administration.receipts(5)] == [delivered]
        assert outbox.verification(waiting).id == waiting
        counts = outbox.counts()
        assert counts.difference == 0
        assert counts.bytes == outbox.administration.row(waiting).size


def test_a_damaged_record_is_set_aside_and_the_next_one_goes(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox:
        first, second = put(outbox, 2)
    damage_body(tmp_path)
    with open_outbox(tmp_path, clock) as outbox:
        assert claimed(outbox, clock).id == second
        assert outbox.administration.row(first).state == "quarantined"
        assert outbox.administration.row(first).last_code == "E7101"
        assert outbox.counts().difference == 0


def test_a_fault_that_is_not_the_records_quarantines_nothing(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        (record,) = put(outbox, 1)
        with pytest.raises(AgentError, match="E3103"), outbox.guarded(record):
            raise AgentError("E3103")
        assert outbox.administration.row(record).state == "ready"


def test_a_lost_key_costs_its_records_one_by_one_and_they_come_back_with_it(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path) as outbox:
        (old,) = put(outbox, 1)
    with Outbox.open(tmp_path, SealKeys.derived(b"another key"), clock, 2**30) as outbox:
        assert len(outbox.administration.lost_keys) == 1
        (new,) = put(outbox, 1, person="q")
        assert claimed(outbox, clock).id == new
        assert outbox.administration.row(old).state == "quarantined"
        assert outbox.administration.row(old).last_code == "E7303"
        with pytest.raises(AgentError, match="E7303"):
            outbox.administration.retry(old)
        assert outbox.counts().difference == 0
    both = SealKeys.derived(b"another key", SEAL_KEY)
    with Outbox.open(tmp_path, both, clock, 2**30) as outbox:
        assert outbox.administration.lost_keys == {}
        assert {outbox.administration.row(record).state for record in (old, new)} == {"ready"}
    with open_outbox(tmp_path) as outbox:
        assert outbox.verification(new).id == new


def test_a_file_that_is_no_database_is_kept_aside_and_the_desk_goes_on(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"garbage" * 5000)
    with open_outbox(tmp_path) as outbox:
        assert outbox.salvaged is not None
        assert (outbox.salvaged.kept_in / "outbox.db").read_bytes() == b"garbage" * 5000
        put(outbox, 1)
        assert outbox.counts().ready == 1


def test_a_commit_that_failed_but_stands_is_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sync reports an error, the row is there after all: what PostgreSQL's people learned the hard way."""
    with open_outbox(tmp_path) as outbox:
        real = owner.transaction
        failed: list[int] = []

        def fails_after_commit(connection: sqlite3.Connection, *, durable: bool) -> object:
            if not failed:
                failed.append(1)
                return _commits_then_fails(real, connection, durable)
            return real(connection, durable=durable)

        monkeypatch.setattr("agent.outbox.intake.transaction", fails_after_commit)
        outbox.put(verification(), PICTURES, person="p", holds={})
        assert failed
        assert outbox.counts().ready == 1


class _commits_then_fails:  # noqa: N801 -- stands in for a context manager function
    def __init__(self, real: object, connection: sqlite3.Connection, durable: bool) -> None:
        self._inner = real(connection, durable=durable)  # type: ignore[operator]  # the real transaction

    def __enter__(self) -> None:
        self._inner.__enter__()

    def __exit__(self, *error: object) -> None:
        self._inner.__exit__(*error)
        raise sqlite3.OperationalError("disk I/O error")


def test_a_file_that_cannot_be_reopened_yet_hangs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_outbox(tmp_path) as outbox:
        put(outbox, 1)

        def broken(connection: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        with pytest.raises(AgentError, match="E3103"):
            outbox._owner.run(broken)
        monkeypatch.setattr(owner, "connect", broken)
        with pytest.raises(AgentError, match="E3103"):
            outbox.counts()
        monkeypatch.undo()
        assert outbox.counts().ready == 1


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from outbox_support import HandClock, open_outbox, verification, PICTURES, receipt
from agent.outbox import SettleDelivered
clock, step = HandClock(), int(sys.argv[2])
def reached(n):
    if n == step:
        os.kill(os.getpid(), 9)
with open_outbox(Path(sys.argv[1]), clock) as outbox:
    one = verification("e" * 32)
    outbox.open_attempt(one.id); reached(0)
    outbox.put(one, PICTURES, person="p", holds={}); print("kept", flush=True); reached(1)
    claim = outbox.claim(clock.now()); reached(2)
    outbox.note_attempt(claim, request_id=one.id, conventions_fingerprint="f", conventions_json="{}",
                        sm3_hex="00", length=1); reached(3)
    outbox.settle(claim, SettleDelivered(receipt(one.id))); reached(4)
"""


@pytest.mark.parametrize("step", range(5))
def test_a_process_killed_between_any_two_steps_leaves_the_truth(tmp_path: Path, step: int) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(step), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    with open_outbox(tmp_path) as outbox:
        counts = outbox.counts()
        assert counts.difference == 0
        assert counts.accepted == (1 if "kept" in killed.stdout else 0)
        assert outbox.interrupted() == (["e" * 32] if step == 0 else [])
        assert counts.delivered == (1 if step == 4 else 0)
        assert counts.sending == 0


SYNCS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from outbox_support import HandClock, open_outbox, verification, PICTURES, receipt
from agent.outbox import SettleDelivered
clock = HandClock()
with open_outbox(Path(sys.argv[1]), clock) as outbox:
    outbox.put(verification(), PICTURES, person="warm", holds={})
    outbox.claim(clock.now())
    print("START", flush=True)
    for n in range(20):
        one = verification()
        outbox.open_attempt(one.id)
        outbox.put(one, PICTURES, person=str(n), holds={})
        claim = outbox.claim(clock.now())
        outbox.note_attempt(claim, request_id=one.id, conventions_fingerprint="f", conventions_json="{}",
                            sm3_hex="00", length=1)
        outbox.settle(claim, SettleDelivered(receipt(one.id)))
    print("END", flush=True)
    import os; os._exit(0)
"""


def test_a_record_costs_two_syncs_from_opened_mark_to_receipt(tmp_path: Path) -> None:
    log = tmp_path / "strace"
    try:
        traced = subprocess.run(
            [
                *("strace", "-f", "-e", "trace=fsync,fdatasync,write", "-o", str(log)),
                *(sys.executable, "-c", SYNCS, str(tmp_path), str(Path(__file__).parent)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    assert "END" in traced.stdout, traced.stderr
    lines = log.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "START" in line)
    syncs = [line for line in lines[start:] if "sync(" in line]
    # Two of its own, and now and then one of a checkpoint; fewer would be a promise not kept.
    assert 40 <= len(syncs) <= 44


def test_a_reason_of_a_later_version_keeps_its_record_held_and_nobody_else(tmp_path: Path) -> None:
    """After a rollback: what the former version cannot judge waits for the later one."""
    with open_outbox(tmp_path) as outbox:
        ours, theirs = put(outbox, 2, holds={Hold.OPERATOR: "operator"})
    with sqlite3.connect(tmp_path / "outbox.db") as file:
        file.execute(
            "UPDATE record SET holds = ? WHERE id = ?", ('{"operator": "x", "moon": "full"}', theirs)
        )
    file.close()
    with open_outbox(tmp_path) as outbox:
        assert [held.id for held in outbox.held()] == [ours]
        assert outbox.administration.row(theirs).holds == {"operator": "x", "moon": "full"}
        counts = outbox.counts()
        assert (counts.held, counts.difference) == (2, 0)
