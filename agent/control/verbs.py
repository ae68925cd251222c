"""The verbs of the control socket: one handler each, the same in the daemon and in-process.

A handler gets its arguments and the caller, and returns JSON. Whatever changes something is audited
with the caller's name. No answer here carries a name, a card number or a picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent import __version__
from agent.board import Board
from agent.control.protocol import Caller, Handler
from agent.ownership import Ownership
from agent.supervisor import LoopState

#: More rows than this a person does not read; programs page with `limit`.
MAX_ROWS = 1000


@dataclass(frozen=True)
class Powers:
    """What the verbs may see and do. Without a daemon there is no board and no loop."""

    own: Ownership
    board: Board | None = None
    loops: Callable[[], Sequence[LoopState]] = tuple
    record_ready: Callable[[], None] = lambda: None
    reload: Callable[[], None] | None = None


def handlers(powers: Powers) -> dict[str, Handler]:
    """Return every verb by its name."""
    verbs: dict[str, Handler] = {
        "status": lambda _args, _caller: _status(powers),
        "outbox.stats": lambda _args, _caller: _stats(powers),
        "outbox.list": lambda args, _caller: _list(powers, args),
        "outbox.show": lambda args, _caller: _show(powers, str(args["id"])),
        "outbox.retry": lambda args, caller: _retry(powers, str(args["id"]), caller),
    }
    if powers.reload is not None:
        verbs["reload"] = lambda _args, _caller: _reload(powers)
    return {name: _plain(handler) for name, handler in verbs.items()}


def _plain(handler: Handler) -> Handler:
    """Turn times and the like into text, so that an answer is the same over the socket and in-process."""

    def answer(args: Mapping[str, Any], caller: Caller) -> Any:
        return json.loads(json.dumps(handler(args, caller), default=str))

    return answer


def _status(powers: Powers) -> dict[str, Any]:
    board = powers.board
    return {
        "version": __version__,
        "daemon": board is not None,
        "topics": {} if board is None else board.snapshot(),
        "loops": [asdict(state) for state in powers.loops()],
        "queue": _stats(powers),
        "clock_trusted": powers.own.clock_trusted(),
        "interrupted": len(powers.own.outbox.interrupted()),
    }


def _stats(powers: Powers) -> dict[str, Any]:
    return asdict(powers.own.outbox.counts())


def _list(powers: Powers, args: Mapping[str, Any]) -> list[dict[str, Any]]:
    limit = min(int(args.get("limit", 50)), MAX_ROWS)
    return [asdict(row) for row in powers.own.outbox.list_records(args.get("state"), limit)]


def _show(powers: Powers, record: str) -> dict[str, Any]:
    outbox = powers.own.outbox
    return {**asdict(outbox.row(record)), "attempts": [asdict(row) for row in outbox.attempts(record)]}


def _retry(powers: Powers, record: str, caller: Caller) -> dict[str, Any]:
    powers.own.outbox.retry(record)
    powers.own.audit.append("record.retried", who=caller.name, target=record, durable=True)
    powers.record_ready()
    return {"id": record, "state": "ready"}


def _reload(powers: Powers) -> dict[str, Any]:
    if powers.reload is not None:
        powers.reload()
    return {"reloaded": True}
