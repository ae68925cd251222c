"""Every fault that the simulated platform offers, before a real daemon: the records, and what people are told.

One daemon meets one fault after the other. While it lasts three results come in, and `status` and `doctor` are
asked in Chinese as an engineer would; then the platform is well again, and everything must arrive.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from e2e_support import Process, wait_for
from intake_support import submission
from messages_seen import english
from test_intake_e2e import Kiosk

from agent import keys
from agent.catalogue import entry
from agent.cli.main import cli
from agent.config import load
from agent.control import call
from agent.ops.pages import WHO
from agent.simulate.dialect import Dialect
from agent.simulate.faults import NAMES, Faults
from agent.simulate.platform import SimulatedPlatform

RECORDS = 3
#: What every result that is handed in says, as the platform must have it.
FACTS = {
    "faceResult": "1",
    "faceScore": 0.87,
    "verifyTime": "2026-03-01 09:00:00",
    "deviceNo": "0000777",
    "machineCode": "SIM-0000777",
}


@dataclass(frozen=True)
class Fault:
    """How it is made, under which codes people hear of it, and whether a record may arrive more than once."""

    codes: set[str] = field(default_factory=set)
    faults: dict[str, Any] = field(default_factory=dict)
    dialect: dict[str, Any] = field(default_factory=dict)
    twice: bool = False
    enabled: bool = True  # the device, in the platform's books


def ordered(*codes: str, twice: bool = False) -> Callable[[str], Fault]:
    return lambda name: Fault(set(codes), {name: 1}, twice=twice)


LOST = ordered("E4105", twice=True)
UNREADABLE = ordered("E5002", twice=True)
ORDERED: dict[str, Callable[[str], Fault]] = {
    "cut_request": ordered("E4104", "E4105"),
    **dict.fromkeys(("unauthorized", "forbidden"), ordered("E4303")),
    **dict.fromkeys(("missing", "redirect", "html"), ordered("E4302")),
    "html_after": ordered("E4302", twice=True),
    "too_large": ordered("E5104"),
    **dict.fromkeys(("limited", "unavailable"), ordered("E4201")),
    "error": ordered("E5001"),
    **dict.fromkeys(("refuse", "duplicate"), ordered("E5102")),
    "system": ordered("E5006"),
    **dict.fromkeys(("lost_answer", "reset", "hang", "truncated"), LOST),
    "gateway": ordered("E4108", twice=True),
    **dict.fromkeys(("garbage", "empty", "charset", "undecipherable"), UNREADABLE),
    "huge": ordered("E5008", twice=True),
    **dict.fromkeys(("wrong_id", "no_id"), ordered("E5005", twice=True)),
    "forge": ordered("E5003", twice=True),
    "stale": ordered("E5010", twice=True),
    "unsigned": ordered("E5009", twice=True),
    "contradict": ordered("E5007", twice=True),
    # No obstacle, and nothing to be told of.
    **dict.fromkeys(("slow", "bom", "silent"), ordered()),
}
FAULTS = {name: ORDERED[name](name) for name in ORDERED} | {
    "down": Fault({"E4201"}, {"down": 1}),
    "late": Fault({"E4105"}, {"delay": 3.0}, twice=True),
    "clock": Fault({"E5110"}, {"skew": 7200.0}),
    "locked": Fault({"E5003"}, {"lock_after": 1}, {"sign_encoding": "base64"}),
    # What refuses us signs as it wants us to sign: not to be verified any more.
    "signature": Fault({"E5003"}, {}, {"sign_encoding": "base64"}),
    "signature, without a word": Fault({"E5003"}, {}, {"sign_encoding": "base64", "refusals": "alike"}),
    "signature, 401": Fault({"E4303"}, {}, {"sign_encoding": "base64", "refusals": "http401"}),
    "signature, 500": Fault({"E5001"}, {}, {"sign_encoding": "base64", "refusals": "http500"}),
    "cipher": Fault({"E5110"}, {}, {"sm4_key": "md5"}),
    "media type": Fault({"E4304"}, {}, {"content_type": "text/json"}),
    **{
        f"{name}, in a bus's JSON": replace(ORDERED[name](name), dialect={"errors": "json"})
        for name in ("unauthorized", "missing", "too_large", "limited", "unavailable", "error")
    },
    "answers under another key": Fault(
        {"E5002"}, {}, {"answer_cipher": "whole", "encryption": "any", "sm4_key": "md5"}
    ),
    "fields": Fault({"E5102"}, {}, {"sex_width": "2"}),
    "device off": Fault({"E5106"}, enabled=False),
}


def test_every_fault_that_can_be_ordered_stands_here() -> None:
    assert set(ORDERED) == set(NAMES)
    amounts = {name for fault in FAULTS.values() for name in fault.faults} - set(NAMES)
    # How long a lock or a Retry-After lasts is their own affair; which requests are meant is tried elsewhere.
    others = {"retry_after", "retry_after_date", "lock_s", "on"}
    assert amounts | others == set(asdict(Faults())) - set(NAMES)


class Rehearsal:
    """A daemon that takes results in, and a platform whose faults can be changed under it."""

    def __init__(self, folder: Path) -> None:
        quick = {"drain_per_minute": 6000, "retry_budget_per_hour": 100000, "answer_timeout_s": 1}
        none = {"source": "none"}
        self.kiosk = Kiosk(folder, {"reader": none, "camera": none, "platform": quick})
        self.config = load(self.kiosk.site.config)
        platform = self.config.platform
        secret = keys.read_secret(platform.org_app_secret, "org_app_secret").decode()
        ticket = keys.read_secret(platform.authorization, "authorization").decode()
        self.platform = SimulatedPlatform(secret, platform.org_app_id, ticket, port=self.kiosk.site.port)
        self.records: list[str] = []

    @contextmanager
    def daemon(self) -> Iterator[Process]:
        with self.kiosk.site.daemon() as daemon:
            wait_for("the daemon listens", self.kiosk.up)
            yield daemon

    def hand_in(self, count: int = RECORDS) -> list[str]:
        answers = [self.kiosk.post(submission()) for _ in range(count)]
        assert [answer.status_code for answer in answers] == [201] * count
        kept = [str(answer.json()["record"]) for answer in answers]
        self.records += kept
        return kept

    def ask(self, verb: str, **args: Any) -> Any:
        return call(Path(self.config.state_dir), verb, args)

    def code(self) -> str:
        return str(self.ask("status")["topics"].get("platform", {}).get("code") or "")

    def queue(self, *names: str) -> int:
        counts = self.ask("status")["queue"]
        return sum(int(counts[name]) for name in names)

    def screen(self, verb: str) -> str:
        return CliRunner().invoke(cli, [verb, "--config", str(self.kiosk.site.config)]).output

    def befall(self, fault: Fault) -> None:
        self.platform.dialect = replace(Dialect(), **fault.dialect)
        self.platform.faults = Faults(on="records", retry_after=60, **fault.faults)
        if not fault.enabled:
            self.book(enabled=False)

    def book(self, *, enabled: bool) -> None:
        device = self.config.device
        self.platform.enter_by_hand([(device.machine_code, device.device_no)], enabled=enabled)

    def well(self) -> None:
        """Make the platform well again and tell the daemon; send what it had set aside."""
        self.platform.faults, self.platform.dialect = Faults(), Dialect()
        self.book(enabled=True)
        self.ask("reload")
        wait_for("nothing waits", lambda: self.queue("delivered", "parked") == len(self.records))
        for row in self.ask("outbox.list", state="parked", limit=99):
            self.ask("outbox.retry", id=row["id"])
        wait_for("everything is delivered", lambda: self.queue("delivered") == len(self.records))

    def arrived(self) -> list[dict[str, Any]]:
        return [line for line in self.platform.accepted() if line["kind"] == "record"]


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    one = Rehearsal(tmp_path)
    with one.platform, one.daemon():
        one.hand_in(1)
        wait_for("the first is delivered", lambda: one.queue("delivered") == 1)
        yield one


def complaints(screen: str, codes: set[str], mark: str) -> Iterator[str]:
    """Yield what is wrong with how a screen tells of a fault: code, whose job, what to do, in whole Chinese."""
    lines = screen.splitlines()
    told = [number for number, line in enumerate(lines) if any(f"[{code}]" in line for code in codes)]
    if not told:
        yield f"{mark}: none of {codes} in {screen}"
        return
    line = lines[told[0]]
    steps = list(takewhile(lambda one: one.startswith("    "), lines[told[0] + 1 :]))
    (code,) = re.findall(r"\[([EW]\d{4})\]", line)
    if not line.endswith(f"({WHO[entry(code).who][0]})"):
        yield f"{mark}: does not say whose job it is: {line}"
    # `status` has room for the first step alone; whoever is to mend it needs the command.
    commands = re.findall(r"kiosk-agent [a-z]+|systemctl [a-z]+|timedatectl", " ".join(steps))
    if not steps or ("doctor" in mark and entry(code).who == "it" and not commands):
        yield f"{mark}: does not say what to do next: {line} {steps}"
    if "?" in line or "（-" in line or english(line):
        yield f"{mark}: not a whole Chinese sentence: {line}"


def met(rehearsal: Rehearsal, name: str, fault: Fault) -> Iterator[str]:
    """Let a fault befall three records, and yield whatever goes wrong over it."""
    rehearsal.befall(fault)
    records = rehearsal.hand_in()
    if fault.codes:
        wait_for(f"{name}: a code", lambda: rehearsal.code() in fault.codes)
        yield from complaints(rehearsal.screen("status"), fault.codes, f"{name}: status")
        yield from complaints(rehearsal.screen("doctor"), fault.codes, f"{name}: doctor")
    else:
        wait_for(f"{name}: delivered", lambda: rehearsal.queue("waiting") == 0)
        if rehearsal.code():
            yield f"{name}: told as {rehearsal.code()} although nothing is wrong"
    rehearsal.well()
    lines = [line for line in rehearsal.arrived() if line["requestId"] in records]
    times = Counter(str(line["requestId"]) for line in lines)
    if name == "silent":
        # Nobody can see it from here; what can be shown is the platform's own receipt.
        if times or not all(rehearsal.ask("outbox.show", id=one)["state"] == "delivered" for one in records):
            yield f"{name}: {times}"
    elif set(times) != set(records):
        yield f"{name}: handed in {records}, arrived {times}"
    if not fault.twice and any(count > 1 for count in times.values()):
        yield f"{name}: arrived more than once although nothing was lost: {times}"
    if any(FACTS.items() - line.items() for line in lines):
        yield f"{name}: arrived altered"
    if len({(line["requestId"], line["bodySm3"]) for line in lines}) != len(times):
        yield f"{name}: a repeat says something else than the first"
    counts = rehearsal.ask("status")["queue"]
    if counts["difference"] or counts["parked"] or counts["accepted"] != len(rehearsal.records):
        yield f"{name}: the balance is off: {counts}"


def test_no_fault_costs_a_record_and_each_is_told_with_whose_job_it_is_and_what_to_do(
    rehearsal: Rehearsal,
) -> None:
    wrong = [said for name, fault in FAULTS.items() for said in met(rehearsal, name, fault)]
    assert wrong == [], "\n".join(wrong)
    assert {line["requestId"] for line in rehearsal.arrived()} <= set(rehearsal.records)


def test_a_daemon_that_starts_amid_an_outage_still_says_all_of_it(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path)
    with rehearsal.platform:
        with rehearsal.daemon() as daemon:
            rehearsal.hand_in(1)
            wait_for("the first is delivered", lambda: rehearsal.queue("delivered") == 1)
            rehearsal.befall(FAULTS["limited"])
            rehearsal.hand_in(1)
            wait_for("it is told", lambda: rehearsal.code() == "E4201")
            assert daemon.terminate(10) == 0
        with rehearsal.daemon():
            wait_for("it is told again", lambda: rehearsal.code() == "E4201")
            for verb in ("status", "doctor"):
                assert list(complaints(rehearsal.screen(verb), {"E4201"}, verb)) == []
            assert "HTTP 429" in rehearsal.screen("status")
            rehearsal.well()
    # Nobody is there any more.
