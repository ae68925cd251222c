"""`doctor` with a configuration that cannot be used: what can be told all the same.

Beside a daemon, which goes on by what it took over before, that is all that the daemon holds; without one
what the machine and the state directory show. The rest follows from the configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agent import lastrun, room
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.ops import conditions, devices, down, machine
from agent.ops.checking import Blocked, Check, Found
from agent.ops.doctor import Examination

#: What everything else follows from: the file's findings, told before all checks.
CONFIGURATION = "configuration"
#: What is told where nothing says where the daemon keeps its state.
NOWHERE = "W8620"
#: As `Doctor` has them.
ORDER = (
    "package", "daemon", "last run", "cause", "unit", "file", "loops", "disk", "secrets", "time source",
    "journal", "console", "sealing", "database", "queue", "balance", "room", "unreadable", "refused",
    "operator", "fields", "machine", "keys", "key files", "backup", "clock", "audit", "registration",
    "port", "reader", "decoder", "camera", "picture", "pictures", "models", "face", "intake", "desk",
    "name", "line", "certificate", "skew", "signature",
)  # fmt: skip
ON_MACHINE = frozenset({"disk", "time source", "journal"})
#: Conditions that without a daemon only the configuration could tell of.
BY_CONFIGURATION = frozenset({
    "console", "key files", "reader", "decoder", "picture", "face", "intake", "signature",
})  # fmt: skip
#: Conditions by what the outbox holds: without it they follow from what stands in its way.
KEPT = frozenset({
    "queue", "balance", "room", "unreadable", "refused", "operator", "fields", "machine", "keys",
    "key files", "backup", "clock", "audit", "registration", "face",
})  # fmt: skip


class Unconfigured(Examination):
    """Every check under its usual name. `state_dir`: None where nothing says where the state is."""

    def __init__(self, state_dir: Path | None, daemon: Callable[[], Any], clock: Clock) -> None:
        super().__init__(state_dir or Path("/"), daemon, clock)
        self._nowhere = state_dir is None

    def checks(self) -> list[Check]:
        """Return every check, in the order in which they are shown."""
        return [self._check(name) for name in ORDER]

    def _check(self, name: str) -> Check:
        own: dict[str, Check] = {
            "package": Check(name, partial(machine.package, self._account)),
            "daemon": Check(name, self._daemon),
            "sealing": Check(name, machine.sealing_cost),
            "database": Check(name, self._database, after=("daemon",)),
            "pictures": Check(name, devices.pictures),
        }
        if name in own:
            return own[name]
        if name in ON_MACHINE:
            return Check(name, _blocked) if self._nowhere and name == "disk" else self._on_machine(name)
        if name not in conditions.NAMED:
            return Check(name, _blocked)
        needs = ("database",) if name in KEPT else ()
        return self._condition(name, needs, _blocked if name in BY_CONFIGURATION else None)

    def _daemon(self) -> Found:
        if not self._nowhere:
            return super()._daemon()
        self._report = {"daemon": None}
        return NOWHERE, {}

    def _database(self) -> Found:
        """Look at the outbox without keys and without changing it, where no daemon says what it holds."""
        if self._nowhere:
            return _blocked()
        if not self._runs:
            last = lastrun.read(self._state_dir)
            limit = room.QUOTA_BYTES if last is None else last.max_bytes
            seen = down.report(self._state_dir, limit, "")
            self._report = {**self._report, **seen}
            if "error" in seen:
                raise AgentError(seen["error"]["code"], **seen["error"]["facts"])
        return None, {}


def _blocked() -> Found:
    raise Blocked(CONFIGURATION)
