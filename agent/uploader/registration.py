"""The device's life with the platform: registered once, remembered for good, never asked for again unasked.

B2301, "already added", is as good as added: the hospital's administrator may have entered the device by
hand. There is no call to change or enable one (D9), so what goes wrong later is told to a person.
"""

from __future__ import annotations

import json
import threading
import uuid
from dataclasses import dataclass
from datetime import datetime

from agent import logs
from agent.audit import Audit
from agent.board import Board
from agent.clock import Clock
from agent.config.schema import Config
from agent.hmpt.client import PlatformClient
from agent.hmpt.refusals import ALREADY_REGISTERED
from agent.outbox import Outbox
from agent.records import About, Delivered, Outcome, PlatformDown, Refused, Unknown
from agent.uploader.judgement import SKEW_S

log = logs.get(__name__)


@dataclass(frozen=True)
class Registered:
    """When this platform said that it knows this device; `already`: it did before (B2301)."""

    at: datetime
    already: bool


def _name(config: Config) -> str:
    return f"registered:{config.platform.base_url}:{config.device.machine_code}:{config.device.device_no}"


def registered(outbox: Outbox, config: Config) -> Registered | None:
    """Return what is remembered of this device here, None when the platform never said 200 or B2301."""
    stored = outbox.setting(_name(config))
    if not stored:
        return None
    stamp = json.loads(stored)
    return Registered(datetime.fromisoformat(stamp["at"]), stamp.get("exception") == ALREADY_REGISTERED)


def register(
    client: PlatformClient, config: Config, outbox: Outbox, audit: Audit, clock: Clock, *,
    who: str = "uploader", board: Board | None = None, stop: threading.Event | None = None,
) -> Outcome:  # fmt: skip
    """Send /machine/info and remember a 200 or B2301. It cannot be undone: a person is asked before.

    Any other outcome is returned as it is, and nothing is remembered.
    """
    outcome = client.register(config.device, uuid.uuid4().hex, stop)
    if isinstance(outcome, Delivered):
        exception = outcome.receipt.exception_code
        stamp = {"at": clock.now().isoformat(), "exception": exception}
        outbox.set_setting(_name(config), json.dumps(stamp))
        audit.append("device.registered", who=who, target=config.device.device_no)
        code = "I5004" if exception == ALREADY_REGISTERED else "I5001"
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
