"""The verbs of the control socket: one handler each, the same in the daemon and in-process.

A handler gets its arguments and the caller, and returns JSON. Whatever changes something is audited
with the caller's name. No answer here carries a name, a card number or a picture.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent import __version__
from agent.catalogue import AgentError
from agent.clock import as_json
from agent.control import (
    changing,
    commissioning,
    desk,
    keyring,
    looking,
    page,
    reading,
    taking,
    trail,
    trusting,
)
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.live import fingerprint
from drivers.errors import CodedError

__all__ = ["Powers", "handlers"]


def handlers(powers: Powers) -> dict[str, Handler]:
    """Return every verb by its name."""
    verbs: dict[str, Handler] = {
        "status": lambda _args, _caller: _status(powers),
        **looking.verbs(powers),
        **changing.verbs(powers),
        **taking.verbs(powers),
        **keyring.verbs(powers),
        **desk.verbs(powers),
        **page.verbs(powers),
        **trail.verbs(powers),
        **reading.verbs(powers),
        **trusting.verbs(powers),
        **commissioning.verbs(powers),
    }
    if powers.reload is not None:
        verbs["reload"] = lambda args, caller: _reload(powers, args, caller)
    return {name: _plain(handler) for name, handler in verbs.items()}


def _plain(handler: Handler) -> Handler:
    """Turn times and the like into text, so that an answer is the same over the socket and in-process."""

    def answer(args: Mapping[str, Any], caller: Caller) -> Any:
        return json.loads(json.dumps(handler(args, caller), default=as_json))

    return answer


def _status(powers: Powers) -> dict[str, Any]:
    board, on_file = powers.board, powers.on_file()
    return {
        "version": __version__,
        "daemon": board is not None,
        "topics": {} if board is None else board.snapshot(),
        "told": {} if board is None else board.told(),
        "loops": [asdict(state) for state in powers.loops()],
        "queue": looking.stats(powers),
        "held": looking.held_back(powers),
        "device": commissioning.device_state(powers),
        "clock_trusted": powers.own.clock_trusted(),
        "clock_trust": powers.own.time.trust().value,
        "face": desk.face_state(powers),
        "interrupted": len(powers.own.outbox.interrupted()),
        "config_hash": fingerprint(powers.current()),
        "config_file": None if on_file is None else str(on_file.path),
        "on_file": None if on_file is None else on_file.differs(powers.current()),
        "kek": powers.own.outbox.administration.kek_id,
        "keys": keyring.state(powers),
        "audit_alarm": powers.own.audit_alarm(),
    }


def _reload(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Reload; who asked for it is written down with how it ended.

    Whoever names a file means that one. The daemon reads its own and no other: AgentError E8210.
    """
    result = "ok"
    try:
        on_file = powers.on_file()
        _same_file(None if on_file is None else on_file.path, args.get("config"))
        if powers.reload is not None:
            powers.reload()
    except CodedError as error:
        result = error.code
        raise
    finally:
        powers.own.audit.append("config.reload", who=caller.name, target="config", result=result)
    return {"reloaded": True}


def _same_file(own: Path | None, named: str | None) -> None:
    if own is None or named is None or Path(named) == own.resolve():
        return
    # The same by another way: a link, a mount.
    with contextlib.suppress(OSError):
        if own.samefile(named):
            return
    raise AgentError("E8210", path=own, named=named)
