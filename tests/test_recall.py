"""A rotten or foreign value beside the records keeps nobody from starting, and counts as never kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from outbox_support import HandClock
from state_support import small_ballast, state_settings

from agent import changes, inservice
from agent.control.protocol import Caller
from agent.control.verbs import Powers, handlers
from agent.face import acceptance
from agent.face.acceptance import Acceptance
from agent.identity import identified
from agent.ops import down
from agent.ops.conditions import problems
from agent.outbox import Outbox
from agent.ownership import Ownership, owning
from agent.recall import recalled
from agent.uploader import memory
from agent.uploader.breaker import Breaker
from agent.uploader.registration import _name as registration_name
from agent.uploader.registration import registered

NURSE = Caller(1000, 1, "nurse")
AT = "2026-03-01T01:00:00+00:00"


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_ballast():
        yield


def kept(outbox: Outbox) -> Mapping[str, str]:
    rows = outbox._owner.run(lambda c: c.execute("SELECT name, value FROM setting").fetchall())
    return {row["name"]: row["value"] for row in rows}


def everything_asked(own: Ownership) -> None:
    """Read back whatever is kept."""
    verbs = handlers(Powers(own))
    own.clock_trusted()
    own.audit_alarm()
    assert problems(verbs["status"]({}, NURSE), own.clock.now())
    verbs["audit.acknowledge"]({"reason": "seen"}, NURSE)
    verbs["keys.state"]({}, NURSE)
    verbs["platform.show"]({}, NURSE)
    registered(own.outbox, own.config)
    inservice.out_of_service(own.outbox, own.config.device)
    acceptance.stands(own.outbox.setting(acceptance.SETTING), "m", 0.5)
    changes.note(own, own.config)


def remembering(folder: Path) -> dict[str, str]:
    """Leave a state directory that remembers all there is to be remembered. Return it by its names."""
    with owning(state_settings(folder), HandClock()) as own:
        site, outbox = own.config, own.outbox
        inservice.say(outbox, site.device, inservice.DISABLED, "nurse", own.clock.now())
        outbox.set_setting(registration_name(site), f'{{"at": "{AT}", "exception": null, "last": "{AT}"}}')
        outbox.set_setting(acceptance.SETTING, Acceptance("m", 0.5, "nurse", AT).to_json())
        breaker = replace(Breaker(), failures=1, open_until=own.clock.now(), code="E4101")
        outbox.set_setting(memory.breaker_name(site), breaker.to_json())
        outbox.set_setting("audit_alarm", '{"code": "E3305", "lines": "1"}')
        outbox.set_setting("keys_backup", f'{{"kek": "k", "at": "{AT}"}}')
        own.accept_time()
        changes.note(own, site)
        memory.keep_told(outbox, site, "E4101", {"detail": "refused"})
    with owning(state_settings(folder), HandClock()) as own:
        found = dict(kept(own.outbox))
    assert {"machine", "audit_head", "last_time", "boots", "config_seen"} <= set(found)
    # These two stand for the file itself; the next start salvages it.
    return {name: value for name, value in found.items() if not name.startswith("schema")}


def test_whatever_becomes_of_a_kept_value_the_agent_starts(tmp_path: Path) -> None:
    whole = remembering(tmp_path)
    for name, value in whole.items():
        quoted = value.replace('"', "!", 1)
        for other in (value[:-1], value[1:], quoted, "x", "1", "[]", "[1]", "null", '"x"', "{}", '{"a": 1}'):
            with owning(state_settings(tmp_path), HandClock()) as own:
                own.outbox.set_setting(name, other)
            with owning(state_settings(tmp_path), HandClock()) as own:
                everything_asked(own)
                own.outbox.set_setting(name, other)
            assert problems(down.report(tmp_path, 1, ""), HandClock().now()), "also while none runs"
            with owning(state_settings(tmp_path), HandClock()) as own:
                own.outbox.set_setting(name, value)


def test_a_rotten_word_on_whose_machine_it_is_makes_no_copy_of_it(tmp_path: Path) -> None:
    remembering(tmp_path)
    with owning(state_settings(tmp_path), HandClock()) as own:
        own.outbox.set_setting("machine", "{")
    with owning(state_settings(tmp_path), HandClock()) as own:
        assert not own.outbox.copied
        assert own.outbox.setting("machine") != "{", "written anew"
        own.outbox.set_setting("machine", identified("another", []).to_json())


def test_an_alarm_of_a_later_version_is_told_all_the_same(tmp_path: Path) -> None:
    remembering(tmp_path)
    with owning(state_settings(tmp_path), HandClock()) as own:
        own.outbox.set_setting("audit_alarm", '{"code": "E9999", "lines": "1"}')
        report = handlers(Powers(own))["status"]({}, NURSE)
    for told in (report, down.report(tmp_path, 1, "")):
        found = {one.code: one.facts for one in problems(told, HandClock().now())}
        assert found["E8203"] == {"cause": "E9999"}


def test_what_cannot_be_understood_was_never_kept() -> None:
    assert recalled(None, int) is None
    assert recalled("", int) is None
    assert recalled("x", int) is None
    assert recalled("0", int) == 0
