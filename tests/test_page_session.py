"""Who gets in at the page: codes, sessions, foreign changes; who gets no stream; what texts there are."""

from __future__ import annotations

import configparser
import re
import string
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import requests
import yaml
from admin_support import put
from console_support import Served, configuration, serving
from e2e_support import wait_for
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import NAME, NUMBER, PICTURES, verification

from agent.catalogue import AgentError
from agent.cli import page
from agent.cli.main import cli
from agent.clock import SystemClock
from agent.console import Page, held
from agent.console.session import CODE_S, IDLE_S, MAX_CODES, MAX_SESSIONS, Sessions
from agent.console.texts import texts
from agent.control.powers import Powers
from agent.ownership import owning
from agent.records import Hold

CONSOLE = Path(__file__).parent.parent / "agent/console"


class HandClock(SystemClock):
    """Monotonic time that moves when told."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


class WallClock(SystemClock):
    """The true time, and how far it was turned."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.at)


def sessions(stored: str | None = None) -> tuple[Sessions, HandClock, list[str]]:
    clock, kept = HandClock(), list[str]()
    return Sessions(clock, stored, kept.append), clock, kept


def test_a_code_opens_one_session_once_and_not_for_long() -> None:
    doors, clock, _ = sessions()
    code = doors.new_code()
    token = doors.open(code)
    assert token is not None
    assert doors.known(token)
    assert doors.open(code) is None
    late = doors.new_code()
    clock.at += CODE_S
    assert doors.open(late) is None
    assert not doors.known(code)


def test_an_unused_session_ends_and_a_used_one_does_not() -> None:
    doors, clock, _ = sessions()
    token = doors.open(doors.new_code())
    assert token is not None
    for _ in range(3):
        clock.at += IDLE_S
        assert doors.known(token)
    clock.at += IDLE_S + 1
    assert not doors.known(token)
    assert doors.count() == 0


def test_codes_and_sessions_are_bounded() -> None:
    doors, clock, _ = sessions()
    codes = [doors.new_code() for _ in range(MAX_CODES + 1)]
    assert doors.open(codes[0]) is None
    first = doors.open(codes[1])
    for _ in range(MAX_SESSIONS):
        clock.at += 1
        doors.open(doors.new_code())
    assert doors.count() == MAX_SESSIONS
    assert not doors.known(first or "")


def test_a_restart_keeps_the_session_and_its_file_gives_nobody_one() -> None:
    doors, _, kept = sessions()
    token = doors.open(doors.new_code()) or ""
    assert token not in kept[-1]
    again, _, _ = sessions(kept[-1])
    assert again.known(token)
    digest = yaml.safe_load(kept[-1])[0]
    assert not again.known(digest)
    again.close(token)
    assert not again.known(token)


@given(st.one_of(st.none(), st.text(max_size=40), st.binary(max_size=40).map(repr)))
def test_whatever_was_stored_gives_no_session_to_whoever_has_none(stored: str | None) -> None:
    doors, _, _ = sessions(stored)
    assert not doors.known(stored or "")
    assert not doors.known("")
    assert doors.open("") is None


# --- over HTTP ------------------------------------------------------------------------------------------


class Opened:
    """A page that is served, with what a browser would bring along."""

    def __init__(self, one: Served, page: Page, clock: WallClock) -> None:
        self.one = one
        self.clock = clock
        self.page = page
        self.cookie = ""

    def enter(self) -> requests.Response:
        """Trade a fresh code for a session."""
        assert self.one.console.address is not None
        code = self.page.code(self.one.console.address)["code"]
        answer = self.post("/api/page/open", {"code": code})
        self.cookie = answer.cookies.get("kiosk_page") or ""
        return answer

    def post(self, path: str, body: Any, **headers: str) -> requests.Response:
        """Post as our own script does."""
        own = {"X-Kiosk-Page": "1", "Origin": self.one.url, "Sec-Fetch-Site": "same-origin"}
        return self.one.request(
            "POST", path, json=body, headers={**own, **headers}, cookies={"kiosk_page": self.cookie}
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        """Ask with the session's cookie."""
        return self.one.get(path, cookies={"kiosk_page": self.cookie}, **options)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    config = configuration(tmp_path)
    pages: list[Page] = []
    clock = WallClock()
    with (
        owning(config, SystemClock()) as own,
        serving(config, own, lambda powers, board: [_kept(pages, powers, board, clock)]) as one,
    ):
        wait_for("the console listens", one.up)
        yield Opened(one, pages[0], clock)


def _kept(pages: list[Page], powers: Any, board: Any, clock: WallClock) -> Any:
    pages.append(Page(powers, board, clock))
    return pages[0].part


INSIDE = ["/api/events", "/api/page", "/api/page/preview", "/api/page/it"]
CHANGES = [
    "/api/page/close",
    f"/api/page/records/{'a' * 32}/reveal",
    f"/api/page/records/{'a' * 32}/complete",
]


def test_without_a_session_there_is_a_frame_and_nothing_in_it(opened: Opened) -> None:
    record = put(opened.one.own, verification())
    opened.one.board.post("screen", state="ready", code="I3001")
    opened.one.board.event("I3001", record=record)
    frame = opened.get("/")
    assert frame.status_code == 200
    for path in INSIDE:
        answer = opened.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "E8405"), path
    for path in CHANGES:
        assert opened.post(path, {}).status_code == 401, path
    texts = [frame.text, *(opened.get(path).text for path in ("/open", "/metrics", "/api/state"))]
    assert not [text for text in texts for canary in (NAME, NUMBER, record) if canary in text]


def test_a_session_sees_the_view_masked(opened: Opened) -> None:
    answer = opened.enter()
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=Strict" in answer.headers["Set-Cookie"]
    record = put(opened.one.own, verification())
    opened.one.board.post("screen", state="ready", code="I3001")
    opened.one.board.event("I3001", record=record)
    view = opened.get("/api/page").json()
    assert view["stage"]["state"] == "kept"
    assert view["last"]["name"] == NAME[0] + "*" * (len(NAME) - 1)
    text = opened.get("/api/page").text + opened.get("/api/page/it").text
    assert NAME not in text
    assert NUMBER not in text
    assert opened.get("/api/page/preview").status_code == 204


def test_a_code_works_once_and_a_wrong_one_is_noted_once_a_minute(opened: Opened) -> None:
    code = opened.page.code(("127.0.0.1", 1))["code"]
    assert opened.post("/api/page/open", {"code": code}).status_code == 200
    for _ in range(3):
        again = opened.post("/api/page/open", {"code": code})
        assert (again.status_code, again.json()["code"]) == (403, "E8407")
        assert "Set-Cookie" not in again.headers
    assert opened.one.own.audit.count("page.refused") == 1
    assert "kiosk_agent_page_wrong_codes_total 3.0" in opened.get("/metrics").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://evil.example.cn"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ],
    ids=str,
)
def test_a_foreign_page_changes_nothing_although_the_cookie_comes_along(
    opened: Opened, headers: dict[str, str]
) -> None:
    opened.enter()
    answer = opened.post("/api/page/close", {}, **headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "E8406")
    assert opened.get("/api/page").status_code == 200


def test_a_form_cannot_change_anything(opened: Opened) -> None:
    opened.enter()
    plain = opened.one.request(
        "POST", "/api/page/close", data={"a": "b"}, cookies={"kiosk_page": opened.cookie}
    )
    assert plain.status_code == 403
    cookie = {"kiosk_page": opened.cookie}
    without = opened.one.request("POST", "/api/page/close", json={}, cookies=cookie)
    assert (without.status_code, without.json()["code"]) == (403, "E8406")
    assert opened.get("/api/page").status_code == 200
    assert opened.post("/api/page/close", {}).status_code == 200
    assert opened.get("/api/page").status_code == 401


@pytest.mark.parametrize("body", [None, [], "x", {"code": 5}, {"code": None}, {}], ids=repr)
def test_a_body_that_is_not_what_was_meant_is_refused(opened: Opened, body: Any) -> None:
    assert opened.post("/api/page/open", body).status_code in {400, 403}
    opened.enter()
    answer = opened.post(f"/api/page/records/{'a' * 32}/complete", body)
    assert answer.status_code in {400, 403}
    assert answer.json()["code"] in {"E8403", "E8406", "E8413", "E8414"}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "E8413"),
        ({"name": "别人"}, "E8413"),
        ({"operationUser": "别人"}, "E8413"),
        ({"nationalCode": "99"}, "E3133"),
        ({"nationalCode": ""}, "E3132"),
        ({"address": "  "}, "E3132"),
        ({"address": "路" * 101}, "E3134"),
        ({"address": "一\u202e二"}, "E3135"),
        ({"address": None}, "E3132"),
        ({"police": ["a"]}, "E3132"),
    ],
    ids=repr,
)
def test_only_what_a_card_may_lack_is_filled_in_and_only_with_what_can_be(
    opened: Opened, given: dict[str, Any], code: str
) -> None:
    one, own = verification(), opened.one.own
    own.outbox.put(one, PICTURES, person="p", holds={Hold.NATION: "nationalCode"})
    with pytest.raises(AgentError) as refused:
        held.complete(Powers(own), one.id, given, "李静")
    assert refused.value.code == code
    assert own.outbox.verification(one.id) == one
    held.complete(Powers(own), one.id, {"nationalCode": "08", "address": " 一 号 楼 "}, "李静")
    completed = own.outbox.verification(one.id)
    assert (completed.nation_code, completed.address) == ("08", "一 号 楼")
    assert own.audit.count("record.supplemented") == 2


def test_no_code_is_made_for_a_page_that_nobody_serves(opened: Opened) -> None:
    with pytest.raises(AgentError) as missing:
        opened.page.code(None)
    assert missing.value.code == "E8408"
    assert opened.page.code(("0.0.0.0", 80))["url"] == "http://127.0.0.1:80/open"
    assert opened.page.code(("::", 80))["url"] == "http://[::1]:80/open"


def test_a_revealed_record_is_in_the_trail_before_it_is_on_the_screen(opened: Opened) -> None:
    opened.enter()
    record = put(opened.one.own, verification())
    shown = opened.post(f"/api/page/records/{record}/reveal", {}).json()
    assert (shown["name"], shown["number"]) == (NAME, NUMBER)
    assert shown["seconds"] > 0
    assert opened.one.own.audit.targets(["record.revealed"]) == {record}


def test_a_person_leaves_the_screen_in_time_and_each_sealed_row_is_opened_once(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.enter()
    own = opened.one.own
    held = []
    for _ in range(5):
        one = verification()
        own.outbox.put(one, PICTURES, person="p", holds={Hold.NATION: "nationalCode"})
        held.append(one.id)
    put_aside = own.outbox.verification
    asked: list[str] = []

    def counted(record: str) -> Any:
        asked.append(record)
        return put_aside(record)

    monkeypatch.setattr(own.outbox, "verification", counted)
    opened.one.board.post("screen", state="ready", code="I3001")
    opened.one.board.event("I3001", record=held[0])
    views = [opened.get("/api/page").json() for _ in range(4)]
    assert views[-1]["last"]["number"] == NUMBER[0] + "*" * 15 + NUMBER[-2:]
    assert sorted(asked) == sorted(held)
    opened.clock.at += opened.one.config.console.clear_after_s + 1
    later = opened.get("/api/page").json()
    assert later["last"] is None
    assert (later["stage"]["state"], later["stage"]["code"]) == ("ready", "I1001")
    # A clock that was set back shows nobody for longer.
    opened.clock.at -= 7200
    assert opened.get("/api/page").json()["last"] is None


def test_streams_are_bounded_and_their_places_come_back(opened: Opened) -> None:
    opened.enter()
    most = opened.one.config.console.max_streams
    good: list[requests.Response] = []
    for _ in range(50):
        stream = opened.get("/api/events", stream=True)
        if stream.status_code == 200:
            good.append(stream)
            continue
        assert (stream.status_code, stream.headers["Retry-After"]) == (503, "5")
        assert stream.json()["code"] == "E8409"
        stream.close()
    assert len(good) == most
    # The page asks plainly meanwhile, and so do monitoring and everybody else.
    assert opened.get("/api/page").status_code == 200
    assert opened.get("/healthz").status_code == 200
    for stream in good:
        stream.close()
    wait_for("a place is free", lambda: opened.get("/api/events", stream=True).status_code == 200)


def test_a_stream_tells_each_change_and_ends_with_its_session(opened: Opened) -> None:
    opened.enter()
    stream = opened.get("/api/events", stream=True)
    lines = stream.iter_lines(decode_unicode=True)
    told = (line for line in lines if line.startswith("data: {"))
    assert '"state": "off"' in next(told)
    opened.one.board.post("screen", state="ready", code="I1001")
    assert '"state": "ready"' in next(told)
    opened.post("/api/page/close", {})
    assert list(told) == []


def test_the_server_ends_although_streams_are_open(opened: Opened) -> None:
    opened.enter()
    streams = [opened.get("/api/events", stream=True) for _ in range(3)]
    opened.one.loop.ask_to_stop()
    assert opened.one.loop.join(30)
    for stream in streams:
        stream.close()


# --- words ----------------------------------------------------------------------------------------------


def test_the_desktop_entry_calls_a_command_that_there_is() -> None:
    entry = configparser.ConfigParser(interpolation=None)
    entry.optionxform = str  # type: ignore[assignment,method-assign]  # keys are told apart by case
    entry.read(CONSOLE.parent.parent / "systemd/kiosk-agent-page.desktop", "utf-8")
    wanted = entry["Desktop Entry"]
    command, *arguments = wanted["Exec"].split()
    assert (command, wanted["Type"], wanted["Name[zh_CN]"]) == ("kiosk-agent", "Application", "登记员页面")
    verb = cli.get_command(click.Context(cli), arguments[0])
    assert verb is not None
    assert verb.make_context(arguments[0], arguments[1:]).params["kiosk"] is True


#: What Ubuntu 22.04 and 24.04 install as /usr/bin/firefox.
STUB = '#!/bin/sh\nif ! [ -x /snap/bin/firefox ]; then\n    exit 1\nfi\nexec /snap/bin/firefox "$@"\n'


def test_a_browser_that_is_a_snap_is_given_a_file_that_it_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = {
        "firefox": STUB,
        "snap/bin/chromium": "\x7fELF, the snap command",
        "firefox-esr": "#!/bin/sh\n",
    }
    for name, content in programs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:{tmp_path / 'snap/bin'}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    for browser in ("firefox", "chromium"):
        for code in ("first", "second"):
            entrance = page._entrance(f"http://127.0.0.1/open#{code}", page._readable_for(browser))
            assert entrance.parent == tmp_path / "home/snap" / browser / "common"
            assert entrance.stat().st_mode & 0o777 == 0o600
            assert code in entrance.read_text()
            assert list(entrance.parent.iterdir()) == [entrance], "an address that was used does not stay"
    assert page._readable_for("firefox-esr") == runtime


def test_every_text_is_there_in_both_languages_with_the_same_facts() -> None:
    zh, en = texts("zh"), texts("en")
    assert list(zh) == list(en)
    for key, text in zh.items():
        names = [{n for _, n, _, _ in string.Formatter().parse(t) if n} for t in (text, en[key])]
        assert names[0] == names[1], key
        assert text.strip()


def test_every_text_that_the_page_names_is_there_and_every_one_there_is_named() -> None:
    paths = [path for path in CONSOLE.rglob("*") if path.suffix in {".html", ".js", ".py"}]
    sources = "".join(path.read_text("utf-8") for path in paths)
    keys = set(texts("zh"))
    named = set(re.findall(r"\b(?:t|words)\.(\w+)", sources)) | set(re.findall(r'"(\w+)"', sources))
    # say(`state_${...}`) and named("part", ...): a family of texts, one a value.
    families = set(re.findall(r"say\(`(\w+)_\$", sources)) | set(re.findall(r'named\("(\w+)"', sources))
    unused = {key for key in keys - named if not key.startswith(tuple(f"{family}_" for family in families))}
    assert unused == set()
    assert set(re.findall(r"\bt\.(\w+)", sources)) | set(re.findall(r'\bsay\("(\w+)"', sources)) <= keys


def test_nothing_of_the_page_comes_from_elsewhere_or_stands_in_the_page() -> None:
    for path in CONSOLE.rglob("*"):
        if path.suffix in {".html", ".js", ".css"}:
            text = path.read_text("utf-8")
            assert not re.search(r"https?://(?!www\.w3\.org)", text), path
            assert not re.search(r"\sstyle=|\son[a-z]+=\"|<script>|<style|innerHTML|eval\(", text), path
