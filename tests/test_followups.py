"""Who still has to be verified somehow: sealed, durable with the record, closed by a named person alone."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from admin_support import answered, failed, owned, put, secret_file, trail
from e2e_support import Site
from outbox_support import NAME, NUMBER, PICTURES, HandClock, damage_body, open_outbox, verification

from agent.audit import Audit
from agent.catalogue import AgentError
from agent.config import load
from agent.followups import FollowUps
from agent.outbox.followups import Person
from agent.records import FaceResult, FaceVerdict, Verification
from drivers.card import CardKind, CardRecord

CARD = CardRecord(CardKind.RESIDENT, name=NAME, number=NUMBER)


def not_passed(result: FaceResult = FaceResult.FAILED) -> Verification:
    return replace(verification(), face=FaceVerdict(result, reason="below_threshold", cosine=0.1, score=0.13))


def test_a_verification_that_did_not_pass_is_a_case_from_its_commit_on(tmp_path: Path) -> None:
    failed, passed = not_passed(), verification()
    switched_off = replace(verification(), face=FaceVerdict(FaceResult.NOT_VERIFIED, reason="engine_none"))
    with open_outbox(tmp_path) as outbox:
        for one in (failed, passed, switched_off, failed):
            outbox.put(one, PICTURES, person="p", holds={})
        (case,) = outbox.followups.listed()
        assert (case.id, case.reason) == (failed.id, "failed")
    with open_outbox(tmp_path) as outbox:
        assert outbox.followups.person(failed.id) == Person(NAME, NUMBER)
        assert outbox.followups.count() == 1
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("outbox.db*"))
    assert NUMBER.encode() not in stored
    assert NAME.encode() not in stored


def test_a_case_outlives_its_records_erasure_and_ends_with_a_named_persons_word(tmp_path: Path) -> None:
    clock = HandClock()
    with open_outbox(tmp_path, clock) as outbox, Audit(tmp_path / "audit.jsonl", b"k", clock) as audit:
        cases = FollowUps(outbox, audit)
        cases.add("ab" * 16, CARD, "refused")
        assert cases.person("ab" * 16, "nurse") == Person(NAME, NUMBER)
        assert audit.count("followup.revealed") == 1
        clock.seconds += 400 * 86400
        outbox.upkeep.erase(timedelta(hours=1))
        outbox.upkeep.expire(timedelta(days=200))
        assert [case.id for case in cases.open()] == ["ab" * 16]
        with pytest.raises(AgentError, match="E3131"):
            cases.close("ab" * 16, "nurse", "  ")
        cases.close("ab" * 16, "nurse", "compared by hand")
        assert cases.open() == []
        for again in (
            lambda: cases.close("ab" * 16, "nurse", "twice"),
            lambda: cases.person("ab" * 16, "it"),
        ):
            with pytest.raises(AgentError, match="E3130"):
                again()
        row = outbox._owner.run(lambda c: dict(c.execute("SELECT * FROM followup").fetchone()))
        assert (row["closed_by"], row["wrapped_key"], row["sealed"]) == ("nurse", None, None)
        clock.seconds += 201 * 86400
        outbox.upkeep.expire(timedelta(days=200))
        assert outbox._owner.run(lambda c: c.execute("SELECT count(*) FROM followup").fetchone()[0]) == 0
        assert audit.verify().broken_at is None
        assert NUMBER not in (tmp_path / "audit.jsonl").read_text("utf-8")


def test_cases_survive_the_salvage_of_a_damaged_file(tmp_path: Path) -> None:
    failed = not_passed(FaceResult.NOT_VERIFIED)
    with open_outbox(tmp_path) as outbox:
        outbox.put(failed, PICTURES, person="p", holds={})
        outbox.followups.add("cd" * 16, "refused", Person(NAME, NUMBER))
        outbox.upkeep.checkpoint()
    raw = bytearray((tmp_path / "outbox.db").read_bytes())
    raw[:100] = bytes(100)
    (tmp_path / "outbox.db").write_bytes(raw)
    with open_outbox(tmp_path) as outbox:
        assert outbox.salvaged is not None
        assert {case.id: case.reason for case in outbox.followups.listed()} == {
            failed.id: "not_verified",
            "cd" * 16: "refused",
        }
        assert outbox.followups.person("cd" * 16) == Person(NAME, NUMBER)


def test_a_case_goes_along_to_the_next_machine(tmp_path: Path) -> None:
    failed, closed = not_passed(), not_passed()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with open_outbox(tmp_path / "a") as old, open_outbox(tmp_path / "b") as new:
        for one in (failed, closed):
            old.put(one, PICTURES, person="p", holds={})
        old.followups.close(closed.id, "nurse", "compared by hand")
        for one in (failed, closed):
            new.administration.import_entry(old.administration.export_entry(one.id), lambda number: "q")
        assert [case.id for case in new.followups.listed()] == [failed.id]
        assert new.followups.person(failed.id) == Person(NAME, NUMBER)


def test_whoever_still_has_to_be_verified_goes_along_without_a_record(tmp_path: Path) -> None:
    site, new = Site(tmp_path / "site"), Site(tmp_path / "new")
    refusal, settled = "ab" * 16, "cd" * 16
    with owned(site) as own:
        cases = FollowUps(own.outbox, own.audit)
        failure = put(own, failed(verification()))
        for case in (refusal, settled):
            cases.add(case, CARD, "refused")
        opened_at = {case.id: case.opened_at for case in cases.open()}
        cases.close(settled, "nurse", "compared by hand")
    file, word = str(tmp_path / "records"), secret_file(tmp_path)
    moved = answered(site, "outbox", "export", file, "--move", "--passphrase-file", word)
    assert (moved["exported"], moved["followups"], moved["left"]) == (1, 1, [])
    assert answered(site, "followups", "list") == [], "somebody would be called up twice"
    assert not [secret for secret in (NAME, NUMBER) if secret.encode() in Path(file).read_bytes()]
    result = answered(new, "outbox", "import", file, "--passphrase-file", word)
    assert result == {"records": 1, "imported": 1, "there_already": 0, "followups": 1, "unreadable": []}
    with owned(new) as own:
        cases = FollowUps(own.outbox, own.audit)
        listed = {case.id: (case.reason, case.opened_at) for case in cases.open()}
        assert listed == {
            refusal: ("refused", opened_at[refusal]),
            failure: ("failed", opened_at[failure]),
        }
        assert cases.person(refusal, "nurse") == Person(NAME, NUMBER)
        cases.close(refusal, "nurse", "came back and was compared")
    again = answered(new, "outbox", "import", file, "--passphrase-file", word)
    assert (again["imported"], again["there_already"]) == (0, 1)
    assert [case["id"] for case in answered(new, "followups", "list")] == [failure], "a closed one came back"
    stats = answered(new, "outbox", "stats")
    assert (stats["accepted"], stats["difference"], stats["quarantined"]) == (1, 0, 0)
    assert [line["object"] for line in trail(new) if line["what"] == "followup.imported"] == [refusal]


def test_a_case_that_nobody_can_read_stays_and_one_of_an_unreadable_record_goes(tmp_path: Path) -> None:
    site, new = Site(tmp_path / "site"), Site(tmp_path / "new")
    with owned(site) as own:
        own.outbox.followups.add("ab" * 16, "refused", Person(NAME, NUMBER))
        failure = put(own, failed(verification()))
        own.outbox.upkeep.checkpoint()
    damage_body(Path(load(site.config).state_dir))
    with (
        contextlib.closing(sqlite3.connect(Path(load(site.config).state_dir) / "outbox.db")) as connection,
        connection,
    ):
        connection.execute("UPDATE followup SET sealed = zeroblob(80) WHERE id = ?", ("ab" * 16,))
    file, word = str(tmp_path / "records"), secret_file(tmp_path)
    moved = answered(site, "outbox", "export", file, "--move", "--passphrase-file", word)
    assert (moved["followups"], moved["left"]) == (1, ["ab" * 16])
    assert [case["id"] for case in answered(site, "followups", "list")] == ["ab" * 16]
    result = answered(new, "outbox", "import", file, "--passphrase-file", word)
    assert (result["imported"], result["unreadable"]) == (0, [failure, "ab" * 16])
    (case,) = answered(new, "followups", "list")
    assert (case["id"], case["reason"]) == (failure, "failed")
