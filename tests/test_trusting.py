"""`platform ...` and `clock ...` as people type them: what is believed, and by whose word."""

from __future__ import annotations

import json
import os
import pwd
import re
from dataclasses import replace
from pathlib import Path

import pytest
from admin_support import answered, owned, trail, typed
from e2e_support import Site
from hmpt_support import PICTURES
from outbox_support import verification

from agent.cli import platform_words
from agent.clock import Uptime
from agent.config import load
from agent.records import Hold
from agent.uploader.memory import RememberedSigning

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def held_for_the_clock(site: Site, uptime: Uptime) -> str:
    with owned(site) as own:
        one = replace(verification(), clock_trusted=False, uptime=uptime)
        own.outbox.put(one, PICTURES, person="p", holds={Hold.CLOCK: "verifyTime"})
        own.audit.append("record.accepted", who="station", target=one.id)
    return one.id


def test_what_is_known_of_a_platform_that_was_never_met(site: Site) -> None:
    shown = answered(site, "platform", "show")
    assert (shown["registered_at"], shown["proven"], shown["answers_signed"]) == (None, False, False)
    assert shown["base_url"] == load(site.config).platform.base_url
    zh, en = (site.cli("platform", "show", *lang).stdout for lang in ((), ("--lang", "en")))
    assert "平台对应答签名" in zh
    assert "否" in zh
    assert "the platform signs its answers" in en
    for screen in (zh, en):
        assert not re.search("True|False|None|_at|-0.0", screen)


def test_every_value_of_the_platform_has_its_words(site: Site) -> None:
    assert set(answered(site, "platform", "show")) == set(platform_words.PLATFORM)


def test_a_question_is_asked_in_one_language(site: Site) -> None:
    for verb, asked in (
        (["platform", "accept-unsigned"], "不再对应答签名"),
        (["clock", "accept"], "时间正确"),
    ):
        status, screen = typed(site, verb, ["n"])
        assert status == 130
        assert asked in screen
        assert " / " not in screen
    assert "不再询问" in site.cli("clock", "accept", "--help").stdout


def test_unsigned_answers_are_taken_again_by_a_persons_word_alone(site: Site) -> None:
    url = load(site.config).platform.base_url
    with owned(site) as own:
        RememberedSigning(own.outbox, url).saw()
    assert answered(site, "platform", "show")["answers_signed"] is True
    # Without a terminal nobody can be asked: it must be said.
    assert site.cli("platform", "accept-unsigned").returncode != 0
    assert answered(site, "platform", "show")["answers_signed"] is True
    assert site.cli("platform", "accept-unsigned", "--yes").returncode == 0
    assert answered(site, "platform", "show")["answers_signed"] is False
    (line,) = [line for line in trail(site) if line["what"] == "platform.unsigned_accepted"]
    assert (line["object"], line["who"].split("/")[0]) == (url, USER)


def test_a_person_vouches_for_the_clock(site: Site) -> None:
    before = answered(site, "clock", "show")
    assert before["trust"] in {"ntp", "unchecked"}
    after = json.loads(site.cli("clock", "accept", "--yes", "--json").stdout)
    assert after["believed"] is True
    assert answered(site, "clock", "show")["trust"] in {"ntp", "person"}
    assert [line["who"].split("/")[0] for line in trail(site) if line["what"] == "clock.accepted"] == [USER]
    assert "records are held for the clock" in site.cli("clock", "show", "--lang", "en").stdout


def test_a_record_of_an_unknown_boot_gets_its_time_from_a_person(site: Site) -> None:
    record = held_for_the_clock(site, Uptime("a boot that nobody knows", 12.0))
    assert answered(site, "clock", "show")["held"] == 1
    assert site.cli("clock", "set", record, "2026-03-01 09:30").returncode == 0
    with owned(site) as own:
        sent = own.outbox.verification(record)
    assert sent.verified_at.isoformat() == "2026-03-01T09:30:00+08:00"
    assert sent.clock_trusted
    (line,) = [line for line in trail(site) if line["what"] == "record.supplemented"]
    assert (line["object"], line["field"], line["who"].split("/")[0]) == (record, "verified_at", USER)
    # Once, and only where it is needed.
    again = site.cli("clock", "set", record, "2026-03-01 10:00")
    assert (again.returncode, "E7504" in again.stderr) == (2, True)


@pytest.mark.parametrize("text", ["yesterday", "2999-01-01 00:00", "2026-13-01 00:00", ""])
def test_a_time_that_cannot_be_is_refused(site: Site, text: str) -> None:
    record = held_for_the_clock(site, Uptime("x", 1.0))
    refused = site.cli("clock", "set", record, text)
    assert (refused.returncode, "E7505" in refused.stderr) == (2, True)
