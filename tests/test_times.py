"""One form of time for programs - RFC 3339, in UTC - and one for people, Beijing's: every `--json` is walked."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import pytest
from admin_support import history, owned, secret_file
from e2e_support import Site, free_port, wait_for
from hypothesis import given
from hypothesis import strategies as st
from intake_support import submission
from test_evaluate import variants
from test_trusting import held_for_the_clock

from agent import words
from agent.cli.main import cli
from agent.clock import Uptime, rfc3339

#: What can only be read as a moment: a date with a time of day, or both without marks between.
LOOKS = re.compile(r"\d{4}[-/.]\d\d[-/.]\d\d[T ]\d\d:\d\d.*|20\d\d(0\d|1[012])[0-3]\d[0-2]\d[0-5]\d[0-5]\d")
FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00")
#: Sentences for people, and what goes to the platform as its own document writes it.
PEOPLE, PLATFORMS = {"title", "do", "text"}, {"body", "headers", "time", "members", "fields"}
NOW = datetime.now(timezone.utc).timestamp()


def moments(found: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield what looks like a moment in an answer, with where it stands; numbers of these days as well."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key not in PEOPLE | PLATFORMS:
                yield from moments(value, f"{path}/{key}")
    elif isinstance(found, list):
        for value in found:
            yield from moments(value, path)
    elif isinstance(found, str) and LOOKS.fullmatch(found):
        yield path, found
    elif isinstance(found, int | float) and any(abs(found / unit - NOW) < 10**7 for unit in (1, 1000)):
        yield path, str(found)


def with_json(group: click.Group, name: str = "") -> Iterator[str]:
    """Yield every verb that takes --json."""
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        if isinstance(command, click.Group):
            yield from with_json(command, f"{name}{word} ")
        elif any(option.name == "as_json" for option in command.params):
            yield f"{name}{word}"


def runs(site: Site, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each verb with what it takes, in an order in which all have something to say; no daemon runs."""
    ids = history(site)
    unknown = held_for_the_clock(site, Uptime("a boot that nobody knows", 12.0))
    secret, results = secret_file(folder), folder / "result.json"
    results.write_text(json.dumps(submission()), "utf-8")
    variants(folder / "people", 2)
    faces = [
        str(folder / "people" / name) for name in ("collins/collins_0001.jpg", "collins/collins_0002.jpg")
    ]
    with owned(site) as own:
        case = own.outbox.followups.listed()[0].id
    yield "status", []
    yield "check", []
    yield "config show", []
    yield "clock show", []
    yield "clock set", [unknown, "2026-03-01 09:30"]
    yield "clock accept", ["--yes"]
    yield "explain", ["E1103"]
    yield "devices", []
    yield "face accept", ["--yes"]
    yield "face compare", faces
    yield "face evaluate", [str(folder / "people"), "--simulate-chip", "2000"]
    yield "followups list", []
    yield "followups show", [case]
    yield "followups close", [case, "--how", "on paper"]
    yield "intake test", [str(results)]
    for verb in ("list", "stats", "verify"):
        yield f"outbox {verb}", []
    yield "outbox show", [ids["delivered"]]
    yield "outbox show", [ids["parked"]]
    yield "upload", [ids["ready"], "--dry-run"]
    yield "outbox retry", [ids["parked"]]
    yield "outbox amend", [ids["held"], "--set", "operationUser=王芳"]
    yield "outbox export", [str(folder / "export"), "--passphrase-file", secret]
    yield "outbox import", [str(folder / "export"), "--passphrase-file", secret]
    yield "outbox discard", [ids["ready"], "--reason", "a test", "--yes"]
    yield "outbox purge", ["--yes"]
    yield "outbox adopt", ["--yes"]
    yield "keys backup", [str(folder / "keys"), "--passphrase-file", secret]
    yield "keys rotate", []
    yield "keys init", ["--out", str(folder / "made")]
    yield "doctor", []
    yield "register", ["--yes"]
    yield "platform show", []
    yield "platform accept-unsigned", ["--yes"]
    yield "probe", ["--yes"]
    yield "capture", ["--out", str(folder / "picture.jpg")]
    yield "read-card", ["--seconds", "15"]
    yield "audit show", []
    yield "audit verify", []


#: `outbox find` asks for a number at a terminal; it lists what `outbox list` does. `page` is asked beside a daemon.
ELSEWHERE = {"outbox find", "page"}


def judged(found: Any, verb: str) -> int:
    """Return how many moments an answer holds, each of which must have the one form."""
    there = list(moments(found))
    wrong = [(path, text) for path, text in there if not FORM.fullmatch(text)]
    assert not wrong, verb
    return len(there)


def test_every_moment_of_every_answer_for_programs_has_one_form(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    seen: dict[str, int] = {}
    with site.platform(), site.reader(1, 0.5):
        for verb, arguments in runs(site, tmp_path):
            run = site.cli(*verb.split(), *arguments, "--json")
            assert run.stdout.startswith(("{", "[")), f"{verb}: {run.stdout}{run.stderr}"
            seen[verb] = seen.get(verb, 0) + judged(json.loads(run.stdout), verb)
    everything = set(with_json(cli))
    assert set(seen) | ELSEWHERE == everything
    assert {verb for verb, moments in seen.items() if moments} >= {
        *("status", "outbox list", "outbox show", "outbox stats", "audit show", "clock show", "clock set"),
        *("followups list", "platform show", "register", "keys backup", "intake test"),
    }


def test_so_has_every_moment_that_a_daemon_tells(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    site = Site(tmp_path / "site", {"console": {"listen": address}})
    with site.platform(), site.reader(1), site.daemon() as daemon:
        wait_for("a record is delivered", lambda: bool(site.accepted()))
        for verb in ("status", "doctor", "devices", "audit show", "outbox list", "page --print"):
            found = json.loads(site.cli(*verb.split(), "--json").stdout)
            assert judged(found, verb) or verb in {"doctor", "devices", "page --print"}
        for path in ("/api/state", "/healthz"):
            with urllib.request.urlopen(f"http://{address}{path}") as answer:
                assert judged(json.load(answer), path) or path == "/healthz"
        daemon.kill()
    report = json.loads(site.cli("status", "--json").stdout)
    started = report["down"][0]["facts"]["started"]
    assert judged(report["down"], "status") == 1
    assert words.moment(started) in report["problems"][1]["title"]


# --- how people read it -----------------------------------------------------------------------------


@given(st.integers(-3 * 10**16, 2 * 10**17), st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_read_in_beijings_time_whatever_its_offset(microseconds: int, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    moment = (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)).astimezone(
        zone
    )
    assert FORM.fullmatch(rfc3339(moment))
    beijing = f"{moment.astimezone(timezone(timedelta(hours=8))):%Y-%m-%d %H:%M:%S}"
    for lang in ("zh", "en"):
        assert words.said(rfc3339(moment), lang) == words.said(moment.isoformat(), lang) == beijing


@pytest.mark.parametrize(
    "text", ["2026-13-45T00:00:00+00:00", "0001-01-01T00:00:00+14:00", "2026-03-01", "7"]
)
def test_what_is_no_moment_stays_as_it_is(text: str) -> None:
    assert words.moment(text) == text
