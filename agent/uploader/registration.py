"""The device's life with the platform: registered once, remembered for good, never asked for again unasked.

B2301, "already added", is as good as added: the hospital's administrator may have entered the device by
hand. There is no call of its own to change or enable one (D9), and the document leaves open whether a second
/machine/info with another `status` is more than that: it is sent when a person says so, and what the answer
proves - a change, or nothing - is told to that person.
"""

from __future__ import annotations

import json
import threading
import uuid
from dataclasses import dataclass
from datetime import datetime

from agent import inservice, logs
from agent.audit import Audit
from agent.board import Board
from agent.clock import Clock, stored_time
from agent.config.schema import Config
from agent.hmpt.client import PlatformClient
from agent.hmpt.refusals import ALREADY_REGISTERED
from agent.outbox import Outbox
from agent.recall import recalled
from agent.records import About, Delivered, Outcome, PlatformDown, Refused, Unknown
from agent.uploader.judgement import SKEW_S

log = logs.get(__name__)


@dataclass(frozen=True)
class Registered:
    """When this platform first and last said that it knows this device; `already`: it did before (B2301)."""

    at: datetime  # first
    already: bool  # at the first time
    last: datetime


def _name(config: Config) -> str:
    return f"registered:{config.platform.base_url}:{config.device.machine_code}:{config.device.device_no}"


def registered(outbox: Outbox, config: Config) -> Registered | None:
    """Return what is remembered of this device here, None when the platform never said 200 or B2301."""
    return recalled(outbox.setting(_name(config)), _read)


def _read(stored: str) -> Registered:
    stamp = json.loads(stored)
    first, last = stored_time(stamp["at"]), stored_time(stamp.get("last", stamp["at"]))
    return Registered(first, stamp.get("exception") == ALREADY_REGISTERED, last)


def to_be_registered(outbox: Outbox, config: Config) -> bool:
    """Return whether the agent registers its device by itself: not one that a person took out of service."""
    return (
        config.platform.register_ == "auto"
        and registered(outbox, config) is None
        and inservice.out_of_service(outbox, config.device) is None
    )


def register(
    client: PlatformClient, config: Config, outbox: Outbox, audit: Audit, clock: Clock, *,
    who: str = "uploader", board: Board | None = None, stop: threading.Event | None = None,
    status: int = inservice.ENABLED,
) -> Outcome:  # fmt: skip
    """Send /machine/info and remember a 200 or B2301: the first, and when the last was.

    It cannot be undone: a person is asked before. Any other outcome is returned as it is, and nothing is
    remembered.
    """
    outcome = client.register(config.device, uuid.uuid4().hex, stop, status=status)
    if isinstance(outcome, Delivered):
        exception = outcome.receipt.exception_code
        now = clock.now().isoformat()
        known = None if registered(outbox, config) is None else outbox.setting(_name(config))
        first = json.loads(known) if known else {"at": now, "exception": exception}
        outbox.set_setting(_name(config), json.dumps({**first, "last": now}))
        number, answer = config.device.device_no, exception or "200"
        audit.append("device.registered", who=who, target=number, status=str(status), answer=answer)
        code = "I5004" if exception == ALREADY_REGISTERED else "I5001" if status == 0 else "I5005"
        logs.say(log, code, device=config.device.device_no)
        if board is not None:
            board.event(code, device=config.device.device_no)
    return outcome


def refusal_code(outcome: Refused | Unknown | PlatformDown, skew_s: float | None) -> str:
    """Return under which code people hear that a registration failed; `skew_s` of our clock, if known."""
    if not isinstance(outcome, Refused):
        return outcome.code
    if outcome.about is About.LANE or abs(skew_s or 0.0) > SKEW_S:
        return "E5110"
    return "E5111"
