"""`reader.list|read|commission`: testing the reader without getting into the desk's way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.ops import readers
from agent.station.memory import ReaderMemory
from drivers import transcript
from drivers.card import CardRecord


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "reader.list": lambda _args, _caller: _list(powers),
        "reader.read": lambda args, caller: _read(powers, args, caller),
        "reader.commission": lambda args, caller: _commission(powers, args, caller),
    }


def _list(powers: Powers) -> dict[str, Any]:
    """Return the candidates as the owner of the reader sees them; its own reader it does not open again."""
    board = powers.board
    state = {} if board is None else board.snapshot().get("reader", {})
    listed = readers.listing(powers.current(), ask=board is None)
    return {
        "daemon": board is not None,
        "port": powers.current().reader.port,
        "commissioned": _memory(powers).pinned(),
        "reader": state,
        "candidates": [readers.as_used(one, state) for one in listed],
    }


def _read(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Read one card: borrowed from the desk where a daemon runs, else with the reader opened for it."""
    config = powers.current()
    limit_s = min(float(args.get("seconds", 15.0)), readers.MOST_S)
    recording, personal = bool(args.get("record")), bool(args.get("personal"))
    read: Any
    if powers.loan is not None and config.has_desk:
        read = powers.loan.borrow(limit_s, recording=recording)
    else:
        read = readers.read_one(config, limit_s)
    answer: dict[str, Any] = {"card": None, "code": None, "facts": {}, "transcript": None}
    if read.card is not None:
        answer["card"] = _told(powers, read.card, caller, reveal=bool(args.get("reveal")))
    elif read.error is not None:
        answer |= {"code": read.error.code, "facts": dict(read.error.facts)}
    if recording:
        if personal:
            _audited(powers, "card.recorded", caller, read.card)
        answer["transcript"] = transcript.written(
            read.entries, personal=personal, remarks=[f"reader.port: {config.reader.port}"]
        )
    return answer


def _told(powers: Powers, card: CardRecord, caller: Caller, *, reveal: bool) -> dict[str, Any]:
    if reveal:
        _audited(powers, "card.revealed", caller, card)
    return readers.told(card, powers.current().console.mask, reveal=reveal)


def _audited(powers: Powers, what: str, caller: Caller, card: CardRecord | None) -> None:
    own = powers.own
    target = "card" if card is None else own.pseudonyms.of(card.number or card.text_block.hex())
    own.audit.append(what, who=caller.name, target=target, durable=True)


def _commission(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Take the reader that is there for the commissioned one: the one named, or the one that alarmed."""
    topic = {} if powers.board is None else powers.board.snapshot().get("reader", {})
    sam_id = str(args.get("sam_id") or dict(topic.get("facts", {})).get("received") or "")
    if not sam_id:
        raise AgentError("E1117")
    _memory(powers).pin(sam_id, caller.name)
    return {"commissioned": sam_id}


def _memory(powers: Powers) -> ReaderMemory:
    own = powers.own
    return ReaderMemory(own.outbox, own.audit, own.pseudonyms, own.clock)
