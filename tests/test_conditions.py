"""Whoever sees a problem in `status` finds it in `doctor`, and the other way round, or reads why not."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from admin_support import answered, history
from console_support import configuration
from e2e_support import Site, wait_for
from outbox_support import PICTURES, verification

import agent
from agent import room
from agent.board import Board
from agent.catalogue import entries
from agent.cli.doctor_words import LABELS
from agent.clock import SystemClock
from agent.config import Config, load
from agent.console import it
from agent.console.figures import Figures
from agent.control.protocol import Caller
from agent.control.verbs import Powers, handlers
from agent.ops import conditions, devices, doctor, down, host, machine, reach
from agent.ops.checking import Blocked
from agent.ops.unconfigured import CONFIGURATION, ORDER
from agent.ownership import owning
from agent.records import Hold

NOW = datetime(2026, 11, 24, 8, tzinfo=timezone.utc)
CODE = re.compile(r"[EW][1-8]\d{3}")
DOCUMENT = Path(__file__).parents[1] / "docs/diagnosis.md"
#: Topics of which no part of the agent says how it is: they are the page's, or a person's next step.
NO_PART = {"desk", "hint", "last", "operator"}
QUEUE = {
    "difference": 0, "copied": False, "quarantined": 0, "parked": 0, "oldest_waiting": None, "waiting": 0,
    "bytes": 1, "limit": 100,
}  # fmt: skip
KEYS = {"kek": "k", "backed_up": True, "own_files": [], "lost_epochs": {}}
MACHINE = {
    "state_dir": "/x", "hindrance": None, "free": 2**40, "ballast": True, "time_source": True,
    "journal": "persistent",
}  # fmt: skip
UP: dict[str, Any] = {
    "daemon": True, "version": "1", "loops": [], "topics": {}, "told": {}, "queue": QUEUE, "keys": KEYS,
    "clock_trust": "ntp", "audit_alarm": None, "device": {}, "face": {"code": ""}, "machine": MACHINE,
    "on_file": {}, "held": {},
}  # fmt: skip


def queue(**changes: Any) -> dict[str, Any]:
    return {**UP, "queue": {**QUEUE, **changes}}


def held(**minutes: int) -> dict[str, Any]:
    since = {lacking: (NOW - timedelta(minutes=many)).isoformat() for lacking, many in minutes.items()}
    return {**UP, "held": {lacking: {"records": 2, "since": at} for lacking, at in since.items()}}


def keys(**changes: Any) -> dict[str, Any]:
    return {**UP, "keys": {**KEYS, **changes}}


def on_machine(**changes: Any) -> dict[str, Any]:
    return {**UP, "machine": {**MACHINE, **changes}}


def topic(name: str, code: str) -> dict[str, Any]:
    return {**UP, "topics": {name: {"state": "down", "code": code}}}


def ended(code: str) -> dict[str, Any]:
    return {**UP, "daemon": False, "down": [{"code": code, "facts": {"cause": "E7202", "at": "x"}}]}


#: Code -> a report that shows it.
EXAMPLES: dict[str, dict[str, Any]] = {
    "W8602": {**UP, "daemon": False, "down": []},
    **{code: ended(code) for code in ("W8611", "W8612", "E8613", "E8614", "W8615", "E7202", "E8203")},
    "E8617": {**UP, "on_file": {"code": "E8617", "facts": {"count": "2", "first": "7:1", "cause": "E6016"}}},
    "W8618": {**UP, "on_file": {"code": "W8618", "facts": {"keys": "lang"}}},
    "E8605": {**UP, "loops": [{"name": "a", "late_s": 1.0, "alive": True}]},
    "E8302": on_machine(hindrance="read-only file system"),
    "E3119": on_machine(free=1),
    "W7502": on_machine(time_source=False),
    "W8603": on_machine(journal="memory"),
    "W3150": queue(oldest_waiting=(NOW - timedelta(days=2)).isoformat(), waiting=1),
    "E3108": queue(difference=1),
    "W3116": queue(bytes=71),
    "W3117": queue(bytes=86),
    "E3118": queue(bytes=96),
    "E3127": queue(quarantined=1),
    "W3128": queue(parked=1),
    "W3142": held(operator=6),
    "W3143": held(field=6),
    "E3122": queue(copied=True),
    "E7301": keys(lost_epochs={"1": "c0ffee"}),
    "W7306": keys(own_files=["seal"]),
    "W7307": keys(backed_up=False),
    "E7503": {**UP, "clock_trust": "behind"},
    "W7507": {**UP, "clock_trust": "unchecked"},
    "E3305": {**UP, "audit_alarm": {"code": "E3305", "lines": "1"}},
    "E3306": {**UP, "audit_alarm": {"code": "E3306", "line": "1"}},
    "W5113": {**UP, "device": {"device": "7", "out_of_service_since": "x"}},
    "W5112": {**UP, "device": {"device": "7", "unconfirmed": True}},
    "W2425": {**UP, "face": {"code": "W2425"}},
    "W8502": {**UP, "topics": {"intake": {"state": "attention", "code": "W8502", "quarantined": 2}}},
    "E2308": {**UP, "topics": {"intake": {"state": "down", "code": "E2308", "facts": {"reason": "closing"}}}},
    "E8401": topic("console", "E8401"),
    "E1103": topic("reader", "E1103"),
    "E1301": topic("decoder", "E1301"),
    "E2101": topic("camera", "E2101"),
    "E4101": topic("platform", "E4101"),
    "E1119": topic("screen", "E1119"),
}


class Still:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(Site(tmp_path / "site").config)


def by_status(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {problem.code: dict(problem.facts) for problem in conditions.problems(report, NOW)}


def by_doctor(report: dict[str, Any], config: Config) -> dict[str, dict[str, str]]:
    """Return what doctor's checks tell of a report, those left out that look at the machine themselves."""
    examined = doctor.Doctor(
        config, lambda: report if report["daemon"] else None, lambda _verb: report, Still()
    )
    checks = {check.name: check.look for check in examined.checks()}
    found = [checks.pop("daemon")()]
    checks.pop("database")()
    for name, look in checks.items():
        if name in doctor.PROBES and (name not in conditions.NAMED or not report["daemon"]):
            continue
        if name == "decoder" and not report["topics"].get(name, {}).get("code"):
            continue
        with contextlib.suppress(Blocked):
            found.append(look())
    return {code: {name: str(value) for name, value in facts.items()} for code, facts in found if code}


def named(*modules: Any) -> set[str]:
    """Return the codes that stand in modules as they are."""
    trees = [ast.parse(Path(module.__file__).read_text("utf-8")) for module in modules]
    constants = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {value for value in constants if isinstance(value, str) and CODE.fullmatch(value)}


def test_each_code_that_a_condition_can_show_has_an_example() -> None:
    shown = named(conditions, down) | {code for _, code in room.ALARMS}
    assert shown <= set(EXAMPLES)


@pytest.mark.parametrize(("code", "report"), EXAMPLES.items())
def test_status_and_doctor_tell_the_same_of_the_same(
    code: str, report: dict[str, Any], config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "look", lambda *_: report["machine"])
    monkeypatch.setattr(down, "why", lambda *_: report.get("down", []))
    told = by_status(report)
    assert code in told
    assert by_doctor(report, config) == told


def test_what_a_person_must_complete_is_no_problem_at_once() -> None:
    assert by_status(held(operator=4, field=4)) == {}
    assert by_status(held(operator=6, field=4)) == {"W3142": {"records": "2", "minutes": "6"}}


def test_who_looks_is_told_what_people_have_to_say_of_records(tmp_path: Path) -> None:
    with owning(configuration(tmp_path), SystemClock()) as own:
        lacks: list[dict[Hold, str]] = [
            {Hold.CLOCK: "clock"}, {Hold.OPERATOR: "operationUser"}, {Hold.ADDRESS: "address"}, {Hold.FIELD: "x"},
        ]  # fmt: skip
        ids = []
        for holds in lacks:
            one = verification()
            own.outbox.put(one, PICTURES, person=one.id, holds=holds)
            ids.append(one.id)
        since = [own.outbox.administration.row(one).created_at.isoformat() for one in ids]
        report = handlers(Powers(own, board=Board(SystemClock())))["status"]({}, Caller(0, 1))
        assert {lacking: found["records"] for lacking, found in report["held"].items()} == {
            "operator": 1,
            "field": 2,
        }
        assert datetime.fromisoformat(report["held"]["operator"]["since"]) == datetime.fromisoformat(since[1])


def test_whatever_a_part_posts_is_in_both(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "look", lambda *_: MACHINE)
    parts = ("console", "reader", "decoder", "camera", "face", "intake", "screen", "platform")
    told = 0
    for code in entries():
        topics = {part: {"state": "down", "code": code, "facts": {"a": "b"}} for part in parts}
        found = by_status({**UP, "topics": topics})
        assert list(found) == ([] if code.startswith("I") else [code])
        assert list(by_doctor({**UP, "topics": topics}, config)) == list(found)
        told += len(found)
    assert told > 200


def test_every_part_that_posts_has_its_condition() -> None:
    sources = [path.read_text("utf-8") for path in Path(agent.__file__).parent.rglob("*.py")]
    posted = {name for text in sources for name in re.findall(r'\bpost\(\s*"(\w+)"', text)}
    code = "E1103"
    shown = {name for name in posted if conditions.of_topics({name: {"code": code}}, {})}
    assert posted - shown == NO_PART
    assert all(by_status(topic(name, code)) for name in shown - {"outbox"}), "the outbox's by its own figures"


def test_a_check_is_a_condition_or_a_probe_with_a_reason_that_the_document_gives(config: Config) -> None:
    order = [check.name for check in doctor.Doctor(config, dict, lambda _: {}, SystemClock()).checks()]
    checks = set(order)
    assert tuple(order) == ORDER, "and with a configuration that cannot be used each has its place"
    assert checks == set(LABELS) - {CONFIGURATION}
    assert checks - {"database"} == (set(conditions.NAMED) | set(doctor.PROBES)) - {
        "database",
        "configuration",
    }
    text = DOCUMENT.read_text("utf-8")
    for name in doctor.PROBES:
        assert re.search(rf"^\| .*`{name}`.* \|", text, flags=re.MULTILINE), name
    for name in down.NOT_KNOWN:
        assert name in conditions.NAMED
        assert f"`{name}`" in text, name
    missing = [code for code in named(machine, devices, reach, doctor) - set(EXAMPLES) if code not in text]
    assert not missing, "told by doctor alone, and the document does not say so"


# --- as their users meet them -----------------------------------------------------------------------


def of_both(site: Site) -> tuple[set[str], dict[str, str]]:
    """Return the codes of `status`, and doctor's with their checks."""
    checks = json.loads(site.cli("doctor", "--json").stdout)
    codes = {problem["code"] for problem in answered(site, "status")["problems"]}
    return codes, {check["code"]: check["check"] for check in checks if check["code"]}


def test_beside_a_daemon_both_tell_the_same_and_without_one_what_can_be_known(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    history(site)
    with site.daemon() as daemon:
        wait_for("neither platform nor reader is there", lambda: {"E4101", "E1101"} <= of_both(site)[0])
        by_status, by_doctor = of_both(site)
        assert by_status <= set(by_doctor)
        checks = {check["check"]: check for check in json.loads(site.cli("doctor", "--json").stdout)}
        assert [checks[name]["follows"] for name in ("reader", "desk", "signature")] == [
            "port",
            "port",
            "line",
        ]
        daemon.kill()
    with site.platform(), site.reader(1), site.daemon() as daemon:
        wait_for("the reader is ready", lambda: "[I1003]" in daemon.text())
        usual = {"W7306", "W7307", "W2425", "W3128"}
        wait_for("both tell the same", lambda: usual <= (both := of_both(site))[0] == set(both[1]))
        assert daemon.terminate(20) == 0
    by_status, by_doctor = of_both(site)
    assert by_status <= set(by_doctor)
    assert {"W7307", "W8612", "W3128"} <= by_status
    alone = {name for code, name in by_doctor.items() if code not in by_status}
    assert alone <= set(doctor.PROBES) | set(down.NOT_KNOWN)


def test_the_tab_for_it_tells_what_status_tells(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    with owning(config, SystemClock()) as own:
        board = Board(SystemClock())
        board.event("E1103", port="/dev/x")
        board.post("reader", state="down", code="E1103", facts={"port": "/dev/x"})
        powers = Powers(own, board=board, config=lambda: config)
        shown = it.overview(powers, board, Figures(powers, SystemClock()), SystemClock(), "zh")
        report = handlers(powers)["status"]({}, Caller(0, 1))
        told = {problem.code for problem in conditions.problems(report, own.clock.now())}
    codes = [problem["code"] for problem in shown["problems"]]
    assert {"W7306", "W7307", "E1103"} <= set(codes)
    assert told - {"W2425"} == set(codes), (
        "whether a threshold was tried the engine itself says, once it is up"
    )
    assert shown["problems"][0]["title"] == "读卡器已断开（/dev/x）"
    assert "facts" not in shown["topics"]["reader"]
