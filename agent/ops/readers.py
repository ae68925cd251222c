"""What `devices` and `read-card` tell: candidates with why not, one card with what must be masked masked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent import masks
from agent.catalogue import AgentError
from agent.config.schema import Config, Mask
from agent.ops.access import service_account
from drivers import probe
from drivers.card import CardRecord
from drivers.discovery import HERE, Candidate, System, candidates, chosen, is_serial, openers
from drivers.errors import CodedError, ReaderError
from drivers.sdt.reader import SdtReader
from drivers.transcript import Entry
from drivers.transport import Transport
from drivers.transport.recording import RecordingTransport
from drivers.transport.serial import BAUD

POLL_S = 0.35
#: A control socket's caller waits 30 s; a card is laid down within less.
MOST_S = 20.0
_SHOWN = ("sex_code", "nation_code", "valid_from", "valid_until", "nationality")
_HIDDEN = ("birth", "address", "issuer", "newest_address", "latin_name", "pass_number")


def listing(config: Config | None, *, ask: bool, system: System = HERE) -> list[dict[str, Any]]:
    """Return every candidate. With `ask` the one that would be used is asked whether it is a reader."""
    port = "auto" if config is None else config.reader.port
    baud = BAUD if config is None else config.reader.baud
    account = None if config is None else service_account(Path(config.state_dir))
    found = candidates(replace(system, baud=baud), port, account)
    used = chosen(port, found)
    return [
        _told(one, baud, chosen=False, ask=False)
        if used is None or one.port != used.port
        else _told(used, baud, chosen=True, ask=ask)
        for one in found
    ]


def _told(candidate: Candidate, baud: int, *, chosen: bool, ask: bool) -> dict[str, Any]:
    code, facts, sam_id = candidate.code, dict(candidate.facts), None
    if chosen and ask and code is None:
        try:
            sam_id = probe.ask(candidate.open(), time.monotonic, candidate.port, baud).sam_id
        except ReaderError as error:
            code, facts = error.code, dict(error.facts)
    return {
        "port": candidate.port,
        "driver": candidate.driver,
        "name": candidate.name,
        "auto": candidate.auto,
        "chosen": chosen,
        "sam_id": sam_id,
        "code": code,
        "facts": facts,
    }


def as_used(candidate: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a candidate as the daemon that uses it knows it by its `state` on the board."""
    if not candidate["chosen"] or not state:
        return candidate
    # There, and ours to open: then what the reader itself does is what is wrong, if anything is.
    told = {"sam_id": state.get("sam_id")}
    if candidate["code"] in {None, "E1114"}:
        told |= {"code": state.get("code"), "facts": dict(state.get("facts", {}))}
    return {**candidate, **told}


def probed(port: str, baud: int = BAUD, system: System = HERE) -> probe.Found:
    """Ask one port, a serial one at every speed, whether it is a reader. ReaderError: what it is instead."""
    if not is_serial(port):
        return probe.ask(openers(port, system)[0](), time.monotonic, port)

    def opened(speed: int) -> Transport:
        return openers(port, replace(system, baud=speed))[0]()

    return probe.at_any_speed(opened, time.monotonic, port, baud)


@dataclass(frozen=True)
class Reading:
    """One attempt to read a card, and everything that went over the line."""

    card: CardRecord | None = field(repr=False)
    error: CodedError | None
    entries: list[Entry] = field(repr=False)


def read_one(config: Config, limit_s: float) -> Reading:
    """Open the reader and wait for a card. ReaderError when it cannot be opened."""
    port, baud = config.reader.port, config.reader.baud
    line = RecordingTransport(openers(port, replace(HERE, baud=baud))[0](), time.monotonic)
    reader, deadline = SdtReader(line, time.monotonic, port, baud), time.monotonic() + limit_s
    try:
        while time.monotonic() < deadline:
            if reader.find():
                reader.select()
                return Reading(_whole(reader), None, line.entries)
            time.sleep(POLL_S)  # a command of one thread; Ctrl-C interrupts it
        return Reading(None, AgentError("E1119", seconds=f"{limit_s:g}"), line.entries)
    except ReaderError as error:
        return Reading(None, error, line.entries)
    finally:
        reader.close()


def _whole(reader: SdtReader) -> CardRecord:
    card = reader.read()
    try:
        return replace(card, newest_address=reader.newest().address)
    except ReaderError:
        return card


def told(card: CardRecord, mask: Mask, *, reveal: bool) -> dict[str, Any]:
    """Return what is said of a card: masked unless revealed; codes, dates of validity and flaws always."""

    def hidden(text: str | None) -> str | None:
        return text if reveal or not text else "*" * len(text)

    shown: Mapping[str, Any] = {name: getattr(card, name) for name in _SHOWN}
    return {
        "kind": card.kind.value,
        "name": card.name if reveal else masks.name(card.name, mask.name),
        "number": card.number if reveal else masks.number(card.number, mask.number),
        **shown,
        **{name: hidden(getattr(card, name)) for name in _HIDDEN},
        "flaws": [{"field": name, "reason": reason} for name, reason in card.flaws],
        "photo_block": {
            "bytes": len(card.photo_block),
            "wlt": card.photo_block.startswith(bytes.fromhex("574C66007E00")),
        },
    }
