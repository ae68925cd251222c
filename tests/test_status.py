"""`status` with the daemon up, killed, and with nothing readable; as a Nagios plugin; as systemd's line."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from admin_support import answered, history
from click.testing import CliRunner
from e2e_support import Site, wait_for

import agent
from agent.board import MAX_EVENTS, Board
from agent.catalogue import AgentError
from agent.cli import status as words
from agent.cli.main import cli
from agent.cli.options import Settings
from agent.clock import SystemClock
from agent.journal import message_id
from agent.ops import conditions, status
from agent.records import FaceResult
from agent.station.events import Light

NOW = datetime(2026, 11, 24, 8, tzinfo=timezone.utc)
#: The line of a plugin, as Nagios' guidelines for developers have it.
PLUGIN = re.compile(
    r"KIOSK-AGENT (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+"
    r"( \| (\w+=-?\d+(s|B|c|%)?(;\d*){0,4})( \w+=-?\d+(s|B|c|%)?(;\d*){0,4})*)?\n"
)
#: What a made-up site on a test machine is told in any case.
USUAL = {"W2425", "W7306", "W7307", "W7502", "W8603"}


@pytest.fixture
def site(tmp_path: Any) -> Site:
    return Site(tmp_path / "site")


def told(site: Site) -> list[str]:
    return [
        problem["code"] for problem in answered(site, "status")["problems"] if problem["code"] not in USUAL
    ]


def test_status_is_right_while_the_daemon_runs_and_after_it_was_killed(site: Site) -> None:
    with site.platform(), site.reader(1), site.daemon() as daemon:
        wait_for("a record is delivered", lambda: bool(site.accepted()))
        wait_for("it is counted", lambda: site.stats()["delivered"] == 1)
        assert told(site) == []
        screen = site.cli("status").stdout
        assert "读卡器: 正常" in screen
        assert "已送达 1" in screen
        assert len(screen.splitlines()) <= 24, "one screen"
        wait_for("the desk is asked to lift the card", lambda: "桌面: " in site.cli("status").stdout)
        daemon.kill()
    assert told(site) == ["W8602", "E8614"]
    shown = site.cli("status", "--lang", "en")
    assert shown.returncode == 0
    assert shown.stdout.startswith("! the daemon is not running")
    assert "delivered 1" in shown.stdout
    state = answered(site, "status")
    assert state["queue"]["accepted"] == 1
    assert re.fullmatch(r"[0-9a-f]{12}", state["config_hash"])


def test_status_says_what_stands_in_the_way_of_saying_more(site: Site) -> None:
    history(site)
    (site.folder / "state/outbox.db").write_bytes(b"no database at all")
    assert told(site) == ["W8619", "W8602", "W8611", "E3107"]
    plugin = site.cli("status", "--nagios")
    assert (plugin.returncode, plugin.stdout[:21]) == (3, "KIOSK-AGENT UNKNOWN -")
    site.config.write_text("platform: [\n")
    plugin = site.cli("status", "--nagios")
    assert (plugin.returncode, "E6010" in plugin.stdout) == (3, True)
    assert site.cli("status").returncode == 78


def test_problems_come_first_errors_before_warnings(site: Site) -> None:
    history(site)
    lines = site.cli("status").stdout.splitlines()
    assert [line[0] for line in lines[:4:2]] == ["!", "!"]
    assert any("W3128" in line for line in lines)
    assert site.cli("status", "--nagios").returncode == 2


def queue(**values: Any) -> dict[str, Any]:
    states = ("ready", "sending", "held", "parked", "quarantined", "delivered")
    base = dict.fromkeys((*states, "difference"), 0)
    base["waiting"] = sum(values.get(state, 0) for state in states if state != "delivered")
    return {**base, "copied": False, "oldest_waiting": None, "bytes": 5, "limit": 100, "free": 7, **values}


def report(**values: Any) -> dict[str, Any]:
    return {
        "daemon": True,
        "topics": {},
        "told": {},
        "loops": [],
        "clock_trust": "ntp",
        "queue": queue(),
        **values,
    }


OLD = (NOW - timedelta(hours=30)).isoformat()
CASES: list[tuple[dict[str, Any], list[str], int]] = [
    (report(), [], 0),
    (report(queue=queue(parked=2)), ["W3128"], 1),
    (report(queue=queue(ready=1, oldest_waiting=OLD)), ["W3150"], 1),
    (report(queue=queue(ready=1, oldest_waiting=(NOW - timedelta(hours=80)).isoformat())), ["W3150"], 2),
    (report(queue=queue(difference=1, quarantined=1, copied=True)), ["E3108", "E3127", "E3122"], 2),
    (report(clock_trust="unset"), ["E7503"], 2),
    (report(clock_trust="unchecked"), ["W7507"], 1),
    (report(daemon=False), ["W8602"], 2),
    (report(topics={"platform": {"code": "W3116"}, "reader": {"code": "E1101"}}), ["E1101", "W3116"], 2),
    (report(topics={"screen": {"code": "I1001"}, "new": {"code": "E1999"}, "x": {"code": ""}}), [], 0),
    (report(loops=[{"name": "a", "late_s": 1.0, "alive": True}]), ["E8605"], 2),
    (report(queue=None, error={"code": "E8208", "facts": {"seconds": "30"}}), ["E8208"], 3),
]


@pytest.mark.parametrize(("given", "codes", "exit_status"), CASES)
def test_each_problem_is_found_and_weighed(given: dict[str, Any], codes: list[str], exit_status: int) -> None:
    found = conditions.problems(given, NOW)
    assert [problem.code for problem in found] == codes
    for lang in ("zh", "en"):
        line, state = status.nagios(given, found, NOW, lang)
        assert state == exit_status
        assert PLUGIN.fullmatch(line + "\n")
        assert all(problem.code in line for problem in found)
    assert json.dumps([problem.as_json("zh") for problem in found])


def test_the_line_for_systemd_names_problems_first_and_stays_a_line() -> None:
    topics: dict[str, dict[str, Any]] = {
        "screen": {"code": "I1001"},
        "reader": {"code": "E1101"},
        "outbox": {"waiting": 3},
    }
    line = status.line(topics, {"E1101": {"port": "/dev/x"}}, "zh")
    assert line == "未找到读卡器（/dev/x） [E1101]；可以刷卡；未送达 3"
    assert status.line({"screen": {"code": "I1001"}}, {}, "en") == "ready for the next card"
    parts = ("reader", "decoder", "camera", "platform", "outbox", "intake", "face", "console")
    everything = {part: {"code": f"E110{number}"} for number, part in enumerate(parts, start=1)}
    assert len(status.line(everything, {}, "zh")) == status.LINE_CHARS
    assert "\n" not in status.line(everything, {}, "en")


@pytest.mark.parametrize(
    ("screen", "found", "said"),
    [("W1012", [], "证件已过有效期"), ("E1103", ["E1103"], "[E1103]"), ("I1002", [], "正在处理")],
)
def test_what_the_screen_asks_of_the_registrar_is_her_next_step_and_no_problem(
    screen: str, found: list[str], said: str
) -> None:
    topics = {"screen": {"state": "attention", "code": screen}}
    assert [one.code for one in conditions.problems(report(topics=topics), NOW)] == found
    assert said in status.line(topics, {}, "zh")


def test_explain_tells_who_mends_it_and_what_to_do_without_anything_running() -> None:
    runner = CliRunner()
    shown = runner.invoke(cli, ["explain", "e1103"]).output.splitlines()
    assert shown[0].startswith("E1103  读卡器已断开")
    assert shown[1] == "由谁处理：信息科"
    assert shown[2].startswith("  1. ")
    found = json.loads(runner.invoke(cli, ["explain", "E1103", "--json", "--lang", "en"]).output)
    assert found["message_id"] == message_id("E1103")
    assert (found["who"], found["severity"], found["exit"]) == ("it", "error", 69)
    unknown = runner.invoke(cli, ["explain", "E0000"]).exception
    assert isinstance(unknown, AgentError)
    assert unknown.code == "E8106"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_line_of_status_says_a_thing_once(lang: str) -> None:
    said = {
        (state, code): words._state({"state": state, "code": code}, {}, Settings(lang=lang), NOW)
        for state in ("ready", "busy", "attention")
        for code in ("I1001", "I1002", "I1007", "I3001")
    }
    for word in ("ready", "可以刷卡", "working", "正在处理"):
        assert all(text.count(word) <= 1 for text in said.values()), word
    for here in ("可以刷卡", "next card", "lay"):
        assert here not in said["ready", "I1007"], "there is no reader here"
    assert said["ready", "I1001"] == ("就绪 可以刷卡" if lang == "zh" else "ready for the next card")


@pytest.mark.parametrize(("after_s", "said"), [(60, True), (0, False), (-60, False)])
def test_a_moment_that_has_passed_is_no_next_try(after_s: int, said: bool) -> None:
    again = (NOW + timedelta(seconds=after_s)).isoformat()
    topic = {"state": "waiting", "code": "E5102", "next_try": again}
    assert ("下次尝试" in words._state(topic, {}, Settings(), NOW)) == said
    assert ("next try" in words._state(topic, {}, Settings(lang="en"), NOW)) == said


def test_what_failed_last_while_nothing_waits_is_told_with_its_time_and_no_problem() -> None:
    topic = {
        "state": "idle",
        "code": "",
        "next_try": None,
        "failed_at": NOW.isoformat(),
        "failed_with": "E5102",
    }
    assert conditions.problems(report(topics={"platform": topic}), NOW) == []
    assert words._state(topic, {}, Settings(), NOW) == "无待传记录 上一次 2026-11-24 16:00:00 失败 [E5102]"
    untimed = {**topic, "failed_at": None}
    assert words._state(untimed, {}, Settings(), NOW) == "无待传记录 上一次 - 失败 [E5102]"


@pytest.mark.parametrize(("ago_s", "said"), [(0, True), (61, False)])
def test_what_was_said_of_the_last_woman_is_not_how_things_are(ago_s: int, said: bool) -> None:
    topic = {"state": "ready", "code": "I3002", "since": (NOW - timedelta(seconds=ago_s)).isoformat()}
    assert ("尚待补全" in words._state(topic, {}, Settings(), NOW)) == said
    assert words._state(topic, {}, Settings(), NOW).startswith("就绪")


POSTED = re.compile(r'\bpost\(\s*"(\w+)"(?:,\s*state="(\w+)")?')


def test_every_topic_and_state_of_the_board_has_words() -> None:
    sources = [path.read_text("utf-8") for path in Path(agent.__file__).parent.rglob("*.py")]
    posted = [found for text in sources for found in POSTED.findall(text)]
    topics, states = {topic for topic, _ in posted}, {state for _, state in posted if state}
    assert topics == set(words.TOPICS) | words.PAGE_ONLY
    assert states | {light.value for light in Light} | {result.name.lower() for result in FaceResult} <= set(
        words.STATES
    )


def test_the_facts_of_what_lasts_outlive_the_list_of_events() -> None:
    board = Board(SystemClock())
    board.event("E4302", detail="HTTP 404")
    for number in range(MAX_EVENTS):
        board.event("I3001", record=str(number))
    assert "E4302" not in {event.code for event in board.events()}
    assert board.told()["E4302"] == {"detail": "HTTP 404"}
    board.event("E4302", detail="HTTP 405")
    assert board.told()["E4302"] == {"detail": "HTTP 405"}
