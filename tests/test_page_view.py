"""What the stage says: one of three states whatever the board holds, the same after every result."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from codes_seen import saw
from console_support import served
from e2e_support import wait_for
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agent.board import Board, Event
from agent.catalogue import entries
from agent.clock import SystemClock
from agent.console import Page, view
from agent.console.streams import Stream
from agent.supervisor import LoopState

ALERTS = Path(__file__).parent.parent / "docs/alerts.yml"
STATES = {"ready", "busy", "kept", "declined", "attention", "off"}
GOOD = [LoopState("station", alive=True, late_s=0.0, restarts=0)]
A, B = "a" * 32, "b" * 32


def event(number: int, code: str, **facts: str) -> Event:
    return Event(number, datetime(2026, 11, 24, tzinfo=timezone.utc), code, facts)


def attempt(compared: str, *after: Event) -> list[Event]:
    return [
        event(1, "I1004", attempt=A, kind="R"),
        event(2, compared, attempt=A, score="0.1", reason="-"),
        event(3, "I3001", record=A, person="p:0000000000"),
        *after,
    ]


def shown(
    screen: Mapping[str, Any],
    events: list[Event] | None = None,
    *,
    shown: bool = True,
    **topics: Mapping[str, Any],
) -> dict[str, Any]:
    found = view.stage({"screen": screen, **topics}, events or [], GOOD, "zh", shown=shown)
    saw(found["code"])
    return found


def test_each_result_is_told_alike() -> None:
    told = [
        shown({"state": "ready", "code": code}, attempt(compared))
        for code, compared in (("I3001", "I2001"), ("I3001", "I2003"), ("I3002", "I2003"), ("I3001", "I2004"))
    ]
    assert [one["state"] for one in told] == ["kept"] * 4
    assert all(one == told[0] for one in told)
    assert "未" not in str(told[0]["title"])


@pytest.mark.parametrize("code", ["I3001", "I3002"])
def test_a_result_leaves_the_screen_in_time(code: str) -> None:
    told = shown({"state": "ready", "code": code}, attempt("I2003"), shown=False)
    assert (told["state"], told["code"], told["steps"]) == ("ready", "I1001", [])


def test_the_steps_are_those_of_the_attempt_under_way() -> None:
    before = attempt("I2001")
    desk = {"state": "looking", "attempt": B, "preview": True}
    busy = {"state": "busy", "code": "I1002"}
    begun = [*before, event(4, "I1004", attempt=B)]
    first = shown(busy, begun, desk=desk, hint={"code": "W2413", "reason": "too_far"})
    assert [step["state"] for step in first["steps"]] == ["done", "now", "todo", "todo"]
    assert first["preview"] is True
    assert first["hint"]["title"] == "离摄像头太远，请靠近一些"
    compared = [*begun, event(5, "I2003", attempt=B)]
    second = shown(
        busy, compared, desk={**desk, "state": "keeping", "preview": False}, hint={"code": "W2413"}
    )
    assert [step["state"] for step in second["steps"]] == ["done", "done", "done", "now"]
    assert (second["preview"], second["hint"]) == (False, None)


def test_only_what_it_must_mend_is_called_attention() -> None:
    down = {"state": "attention", "code": "E1103"}
    assert shown(down, [event(1, "E1103", port="/dev/x")])["title"] == "读卡器已断开（/dev/x）"
    assert shown(down)["state"] == "attention"
    assert shown({"state": "attention", "code": "E1106"})["state"] == "ready"
    ready = {"state": "ready", "code": "I1001"}
    camera = {"state": "down", "code": "E2101"}
    assert (shown(ready, camera=camera)["state"], shown(ready, camera=camera)["code"]) == (
        "attention",
        "E2101",
    )
    assert shown(ready, outbox={"state": "attention", "code": "E3119"})["code"] == "E3119"
    assert shown(ready, outbox={"state": "attention", "code": "W3116"})["state"] == "ready"
    assert shown(ready, platform={"state": "waiting", "code": "E4101"})["state"] == "ready"
    assert shown({"state": "busy", "code": "I1002"}, camera=camera)["state"] == "busy"
    assert view.stage({}, [], GOOD, "zh", shown=True)["state"] == "off"


@pytest.mark.parametrize("loop", [("station", False, 0.0), ("station", True, 2.0)])
def test_a_desk_that_does_not_answer_is_told_whatever_the_screen_last_said(loop: Any) -> None:
    name, alive, late_s = loop
    loops = [LoopState(name, alive=alive, late_s=late_s, restarts=1)]
    found = view.stage({"screen": {"state": "ready", "code": "I1001"}}, [], loops, "en", shown=True)
    assert (found["state"], found["code"]) == ("attention", "E8410")
    assert "station" in found["title"]
    saw(found["code"])


def test_who_was_not_photographed_is_sent_on_without_a_word_about_it() -> None:
    found = shown({"state": "attention", "code": "W1016"})
    assert (found["state"], found["code"]) == ("declined", "I1001")
    assert shown({"state": "attention", "code": "W1017"}) == found


def test_what_is_said_of_a_card_first_is_said_while_it_is_being_processed() -> None:
    desk = {"state": "announced", "attempt": B, "preview": False}
    found = shown({"state": "attention", "code": "W1011"}, desk=desk)
    assert (found["state"], found["preview"]) == ("busy", False)
    assert "男性" in found["title"]
    asking = shown({"state": "attention", "code": "W1002"}, desk={"state": "asking", "attempt": B})
    assert (asking["state"], asking["asking"]) == ("ready", True)


CODES = st.sampled_from(sorted(entries()))
TOPIC = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(["ok", "down", "ready", "busy", "attention", "off", "announced", "looking"]),
        "code": st.one_of(CODES, st.none(), st.just("")),
        "attempt": st.sampled_from([A, B, ""]),
        "preview": st.booleans(),
    },
)
EVENTS = st.lists(
    st.builds(
        event,
        st.integers(1, 99),
        CODES,
        attempt=st.sampled_from([A, B]),
        record=st.sampled_from([A, B]),
    ),
    max_size=12,
)
NAMES = st.sampled_from(
    ["screen", "desk", "camera", "outbox", "platform", "hint", "face", "last", "operator"]
)


@given(st.dictionaries(NAMES, TOPIC), EVENTS, st.booleans(), st.sampled_from(["zh", "en"]))
def test_whatever_the_board_holds_there_is_one_state_and_no_result(
    topics: dict[str, Any], events: list[Event], fresh: bool, lang: str
) -> None:
    found = view.stage(topics, events, GOOD, lang, shown=fresh)
    assert found["state"] in STATES
    assert found["code"] not in view.RESULTS | view.DECLINED
    assert [step["step"] for step in found["steps"]] in ([], list(view.STEPS))
    for one in view.notices(topics, view.told(events), lang):
        assert one["title"]


def test_a_stream_wakes_with_the_board_and_not_by_the_clock() -> None:
    board = Board(SystemClock())
    views = iter([{"n": 1}, {"n": 2}])
    left = [2]

    def going_on() -> bool:
        left[0] -= 1
        return left[0] >= 0

    given_back: list[int] = []
    stream = Stream(board, lambda: next(views), going_on, lambda: given_back.append(1))
    lines = iter(stream)
    assert b'"n": 1' in next(lines)
    before = board.wait_beyond(-1, 0)
    seen: list[int] = []
    waiting = threading.Thread(target=lambda: seen.append(board.wait_beyond(before, 600)))
    waiting.start()
    wait_for("somebody waits", lambda: bool(board._lock._waiters))  # type: ignore[attr-defined]  # CPython's
    board.post("screen", state="ready", code="I1001")
    waiting.join(60)
    assert seen == [before + 1]
    assert b'"n": 2' in next(lines)
    assert list(lines) == []
    stream.close()
    stream.close()
    assert given_back == [1]


def test_every_alert_asks_for_a_metric_that_there_is_and_names_what_to_do(tmp_path: Path) -> None:
    with served(tmp_path, parts=lambda powers, board: [Page(powers, board, SystemClock()).part]) as one:
        one.board.post("reader", state="ok")
        families = list(text_string_to_metric_families(one.get("/metrics").text))
    names = {sample.name for family in families for sample in family.samples}
    names |= {name.removesuffix("_total") + "_total" for name in names}
    rules = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"][0]["rules"]
    assert len(rules) > 10
    for rule in rules:
        asked = set(re.findall(r"\bkiosk_agent_\w+", str(rule["expr"]))) or {"up"}
        assert asked <= names | {"up"}, rule["alert"]
        assert rule["annotations"]["code"] in entries()
        assert rule["labels"]["severity"] in {"warning", "critical"}
