"""What `outbox` says on a screen: Chinese unless asked for English, no key, no Python; and when nobody answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from admin_support import answered, history, owned, refused, secret_file, typed
from e2e_support import Site
from outbox_support import NUMBER, verification

from agent.balance import STATES
from agent.cli import outbox_words as words
from agent.config.schema import Conventions
from agent.hmpt import checks
from agent.outbox.rows import AttemptRow, Found, RecordRow
from agent.records import FaceResult, Hold

#: English that a Chinese screen may show: what people type, and what programs and the platform call things.
ALLOWED = re.compile(
    r"\b(SM3|KiB|MiB|GiB|B|VARCHAR|UTF|chars|utf8|gbk|outbox|max_bytes|[0-9a-f]{8,}|[EWIA]\d{4,5}|ok|X|f"
    r"|operationUser|cardNo|police|address|root|export|bin)\b"
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def english(screen: str) -> list[str]:
    """Return the English words of a screen."""
    return re.findall(r"[A-Za-z_]{2,}", ALLOWED.sub("", screen))


def test_every_state_reason_and_column_has_words_in_both_languages() -> None:
    assert set(STATES) <= set(words.STATES)
    assert {hold.value for hold in Hold} == set(words.HOLDS)
    assert {result.name.lower() for result in FaceResult} == set(words.VALUES["result"])
    for row in (RecordRow, AttemptRow, Found):
        assert set(row.__dataclass_fields__) - {"closed_as"} <= set(words.NAMES)
    for zh, en in [*words.NAMES.values(), *words.HOLDS.values(), *words.STATES.values()]:
        assert re.search(r"[\u4e00-\u9fff]", zh)
        assert en.isascii()


def test_what_a_record_lacks_is_said_once() -> None:
    assert words.lacking("operator", "operationUser", "zh") == "操作人（operationUser）"
    assert words.lacking("operator", "operationUser", "en") == "operator (operationUser)"
    assert words.lacking("field", "operationUser", "zh") == "字段不合要求（操作人（operationUser））"


NOW = datetime(2026, 11, 24, 8, tzinfo=timezone.utc)
PAST, SOON, LATER = ((NOW + timedelta(seconds=s)).isoformat() for s in (-60, 60, 120))


@pytest.mark.parametrize(
    ("state", "due", "next_try", "waiting_for", "said"),
    [
        ("ready", PAST, LATER, "E4101", LATER),
        ("ready", LATER, SOON, "E4101", LATER),
        ("ready", PAST, None, "E4101", "待平台恢复"),
        ("ready", None, PAST, "E4101", "待平台恢复"),
        ("ready", PAST, None, None, "排队中"),
        ("ready", SOON, None, None, SOON),
        ("held", None, LATER, "E4101", None),
    ],
)
def test_no_record_is_said_to_go_at_a_moment_that_has_passed(
    state: str, due: str | None, next_try: str | None, waiting_for: str | None, said: str | None
) -> None:
    row = {"state": state, "next_attempt_at": due}
    platform = {"next_try": next_try, "waiting_for": waiting_for}
    assert words.next_upload(row, platform, NOW, "zh") == said


def test_what_a_record_lacks_is_retold_in_chinese() -> None:
    one = replace(verification(), issuer="局" * 120, name="", address="一\x07")
    for problem in checks.problems(one, {}, Conventions(), 1):
        kept = problem.told("en")
        assert words.told(kept, "zh") == problem.told("zh") != kept
        assert words.told(kept, "en") == kept
    long = replace(verification(), number="450102199001010041", name="字" * 12)
    assert words.told("; ".join(checks.oddities(long, Conventions())), "zh") == (
        "姓名（realName）：12 个字符，超过 10；证件号码（cardNo）：校验位不对"
    )
    assert words.told("A2301 - 字段有误; xyz", "zh") == "A2301 - 字段有误；xyz"


def test_screens_are_chinese_by_default_and_english_on_request(site: Site, tmp_path: Path) -> None:
    ids = history(site)
    assert site.cli("outbox", "discard", ids["ready"], "--yes", "--reason", "试\x1b机").returncode == 0
    word = secret_file(tmp_path)
    export = [
        "outbox",
        "export",
        str(tmp_path / "x"),
        "--move",
        "--id",
        ids["parked"],
        "--passphrase-file",
        word,
    ]
    assert site.cli(*export).returncode == 0
    assert site.cli("outbox", "amend", ids["held"], "--set", "police=测试局").returncode == 0
    for verb in (
        ["stats"],
        ["list"],
        ["verify"],
        *(["show", ids[name]] for name in ("ready", "parked", "held", "failed", "delivered")),
    ):
        run = site.cli("outbox", *verb)
        assert run.returncode == 0, run.stderr
        assert english(run.stdout) == [], run.stdout
        assert not re.search(r"[{}'\[\]\x1b]", run.stdout), "Python's own form, or a terminal's control"
        assert re.search(r"[\u4e00-\u9fff]", site.cli("outbox", *verb, "--lang", "en").stdout) is None or (
            verb[0] == "show"
        )
    listed = site.cli("outbox", "list").stdout
    for said in ("已放弃", "已移交另一台主机", "已由更正记录取代", "待传", "被拒", "已送达"):
        assert said in listed
    status = site.cli("status").stdout
    assert "已移交另一台主机 1" in status
    assert "已由更正记录取代 1" in status
    assert "已放弃 1" in status
    assert [row["id"] for row in answered(site, "outbox", "list", "--state", "moved")] == [ids["parked"]]
    refused(site, "E3114", "outbox", "retry", ids["delivered"])


def test_a_number_that_is_nowhere_may_have_been_typed_wrongly(site: Site) -> None:
    history(site)
    status, screen = typed(site, ["outbox", "find"], ["450102199001010041"])
    assert (status, "没有该号码的记录" in screen, "校验位" in screen) == (0, True, True)
    # A program gets its empty list; whoever typed the number is told beside it.
    status, screen = typed(site, ["outbox", "find", "--json"], ["450102199001010041"])
    assert (status, "没有该号码的记录" in screen, "校验位" in screen) == (0, True, True)
    assert screen.rstrip().endswith("[]")
    status, screen = typed(site, ["outbox", "find"], [NUMBER])
    assert (status, "已送达" in screen) == (0, True)
    assert english(screen.replace(NUMBER, "")) == []


def test_a_passphrase_typed_twice_differently_is_asked_for_again(site: Site, tmp_path: Path) -> None:
    answers = [
        "correct horse battery",
        "another battery horse",
        "correct horse battery",
        "correct horse battery",
    ]
    status, screen = typed(site, ["keys", "backup", str(tmp_path / "backup")], answers)
    assert status == 0, screen
    assert "两次输入不一致" in screen
    assert "do not match" not in screen
    assert not any(answer in screen for answer in answers)


@pytest.mark.parametrize(
    "verb",
    [
        ["keys", "backup", "OUT"],
        ["outbox", "find"],
        ["outbox", "purge"],
        ["outbox", "adopt"],
        ["clock", "accept"],
    ],
    ids=" ".join,
)
def test_without_anybody_to_answer_it_is_one_sentence(site: Site, tmp_path: Path, verb: list[str]) -> None:
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in verb]
    run = subprocess.run(
        [sys.executable, "-m", "agent", *arguments, "--config", str(site.config)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        check=False,
        start_new_session=True,
    )
    assert run.returncode == 2, run.stderr
    assert "E8314" in run.stderr
    assert "Warning" not in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_number_may_come_on_the_standard_input(site: Site) -> None:
    ids = history(site)
    run = subprocess.run(
        [sys.executable, "-m", "agent", "outbox", "find", "--json", "--config", str(site.config)],
        input=NUMBER + "\n",
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert (run.returncode, ids["delivered"] in run.stdout, run.stderr) == (0, True, "")


def test_an_address_is_asked_for_and_stays_out_of_the_command_line(site: Site) -> None:
    ids = history(site)
    refused(site, "E8314", "outbox", "amend", ids["parked"], "--set", "address")
    status, screen = typed(
        site, ["outbox", "amend", ids["parked"], "--set", "address", "--json"], ["南宁市某路"]
    )
    assert status == 0, screen
    with owned(site) as own:
        (new,) = [row for row in own.outbox.administration.list_records(None, 99) if row.supersedes]
        assert own.outbox.verification(new.id).address == "南宁市某路"
