"""Whether a device is in service: `status` of table 4.1, 0 enabled, 1 disabled, as a person here said it.

A platform may refuse the records of a device out of service, or take them and not count them (P23): so they
wait, held. The word of a person is kept per device, whatever the platform's address, and over restarts; no
automatic registration undoes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from agent.recall import recalled

if TYPE_CHECKING:  # `status` without a daemon asks here, and loads none of these
    from agent.config.schema import Device
    from agent.outbox import Outbox
    from agent.records import Verification

#: `status` of table 4.1.
ENABLED, DISABLED = 0, 1
#: Under which code people hear of it, and records are held.
CODE = "W5113"


@dataclass(frozen=True)
class Service:
    """A person's last word on one device."""

    status: int  # of table 4.1
    at: str  # ISO 8601, UTC
    who: str


_PREFIX = "service:"


def _name(machine_code: str, device_no: str) -> str:
    return f"{_PREFIX}{machine_code}:{device_no}"


def last_word(outbox: Outbox, device: Device | Verification) -> Service | None:
    """Return what was said of a device last; None: nobody ever did, and it is in service."""
    return recalled(outbox.setting(_name(device.machine_code, device.device_no)), _read)


def _read(stored: str) -> Service:
    return Service(**json.loads(stored))


def out_of_service(outbox: Outbox, device: Device | Verification) -> Service | None:
    """Return since when, and by whom, a device is out of service; None while it is in service."""
    said = last_word(outbox, device)
    return said if said is not None and said.status == DISABLED else None


def devices_out(settings: Mapping[str, str]) -> dict[str, Service]:
    """Return the devices out of service by what an outbox has stored: number -> the word on it."""
    words = {
        name.rpartition(":")[2]: recalled(stored, _read)
        for name, stored in settings.items()
        if name.startswith(_PREFIX)
    }
    return {device_no: word for device_no, word in words.items() if word and word.status == DISABLED}


def status(outbox: Outbox, device: Device | Verification) -> int:
    """Return what /machine/info has to say of a device."""
    return ENABLED if out_of_service(outbox, device) is None else DISABLED


def say(outbox: Outbox, device: Device | Verification, status: int, who: str, now: datetime) -> None:
    """Keep a person's word on a device."""
    word = Service(status, now.isoformat(), who)
    outbox.set_setting(_name(device.machine_code, device.device_no), json.dumps(asdict(word)), durable=True)
