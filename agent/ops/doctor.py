"""`doctor`: every check in the order in which one depends on the other, each with what to do about it.

It works with the daemon running, which is then asked for what it holds, and without. It tells every condition
that `status` tells, by the same report (`conditions`), and what it alone looks at (PROBES).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent import keys
from agent.clock import Clock
from agent.config.schema import Config, named_secrets
from agent.ops import checking, conditions, devices, down, host, machine
from agent.ops.access import service_account
from agent.ops.checking import GOOD, Blocked, Check, Found, Result
from agent.ops.reach import Way

#: Everything together; promised to whoever stands before a broken kiosk.
WITHIN_S = 9.5

#: What no glance may cost, and `status` therefore does not tell: check -> why. "Without a daemon" where the
#: daemon's own word on the same part is a condition of both.
PROBES = {
    "package": "reads the lists of every installed package",
    "secrets": "reads the secrets; a daemon that started has them",
    "console": "without a daemon: opens the port",
    "sealing": "seals a record's worth of bytes",
    "port": "looks for readers, and for who holds them",
    "reader": "without a daemon: opens the reader",
    "decoder": "without a daemon, or before the first card: starts the decoder",
    "camera": "looks for cameras, and for who holds them",
    "picture": "without a daemon: opens the camera",
    "pictures": "starts the process that looks at pictures",
    "intake": "without a daemon: looks at the drop folder",
    "models": "reads the face models whole",
    "name": "asks the name server",
    "line": "connects to the platform",
    "certificate": "connects to the platform",
    "skew": "asks the platform",
    "signature": "without a daemon: registers the device",
}

#: What the daemon says of these may be what another check found by itself: a port, a line, a clock.
ECHOES = frozenset({"reader", "picture", "desk", "signature"})

Ask = Callable[[str], Any]
Look = Callable[[], Found]


class Examination(ABC):
    """What every examination shares: where the state is, and what its owner says.

    `daemon` returns the running daemon's status, None where none runs.
    """

    def __init__(self, state_dir: Path, daemon: Callable[[], Any], clock: Clock) -> None:
        self._reached = daemon
        self._clock = clock
        self._state_dir = state_dir
        self._account = service_account(state_dir)
        self._report: dict[str, Any] = {}

    def examine(self, within_s: float = WITHIN_S) -> list[Result]:
        """Make every check."""
        return _once(checking.run(self.checks(), within_s))

    @abstractmethod
    def checks(self) -> list[Check]:
        """Return every check, in the order in which they are shown."""

    def _condition(self, name: str, needs: tuple[str, ...] = (), instead: Look | None = None) -> Check:
        """Return the check of a condition; `instead`: what is looked at while no daemon runs."""

        def look() -> Found:
            if "daemon" not in self._report:
                raise Blocked("daemon")
            if instead is not None and not self._runs:
                return instead()
            condition = conditions.NAMED[name]
            found = condition.found(self._report, self._clock.now())
            if found is None or (condition.of == "topics" and not self._runs):
                raise Blocked("daemon")
            return found

        def regardless() -> bool:
            return instead is not None and self._runs

        return Check(name, look, needs, ("daemon", "database"), regardless)

    def _on_machine(self, name: str) -> Check:
        # Reading the outbox as root means acting as its owner for a moment: what reads files waits for that.
        def look() -> Found:
            report = {"daemon": self._runs, "machine": host.look(self._state_dir)}
            return conditions.NAMED[name].found(report, self._clock.now()) or GOOD

        return Check(name, look, after=("database",))

    @property
    def _runs(self) -> bool:
        return bool(self._report.get("daemon"))

    def _daemon(self) -> Found:
        live = self._reached()
        if live is None:
            self._report = {"daemon": False, "down": list(down.why(self._state_dir))}
        else:
            self._report = {"down": [], **live}
        return conditions.NAMED["daemon"].found(self._report, self._clock.now()) or GOOD


class Doctor(Examination):
    """By a configuration that can be used. `ask`: a verb of the socket, answered by the daemon or here."""

    def __init__(self, config: Config, daemon: Callable[[], Any], ask: Ask, clock: Clock) -> None:
        super().__init__(Path(config.state_dir), daemon, clock)
        self._config = config
        self._ask = ask

    def checks(self) -> list[Check]:
        """Return every check, in the order in which they are shown."""
        return [*self._here(), *self._kept(), *self._devices(), *self._way()]

    def _here(self) -> list[Check]:
        return [
            Check("package", partial(machine.package, self._account)),
            Check("daemon", self._daemon),
            *(self._condition(name) for name in ("last run", "cause", "unit", "file", "loops")),
            self._on_machine("disk"),
            Check("secrets", self._secrets, after=("daemon", "database")),
            self._on_machine("time source"),
            self._on_machine("journal"),
            self._condition("console", instead=lambda: machine.listening(self._config, daemon=False)),
        ]

    def _kept(self) -> list[Check]:
        held = (
            "queue", "balance", "room", "unreadable", "refused", "operator", "fields", "machine", "keys",
            "key files", "backup", "clock", "audit", "registration",
        )  # fmt: skip
        return [
            Check("sealing", machine.sealing_cost),
            Check("database", self._database, after=("daemon",)),
            *(self._condition(name, ("database",)) for name in held),
        ]

    def _devices(self) -> list[Check]:
        config, account = self._config, self._account
        return [
            Check(
                "port", lambda: devices.reader_port(config, account, daemon=self._runs), after=("database",)
            ),
            self._condition("reader", ("port",), instead=lambda: devices.reader(config)),
            Check("decoder", self._decoder, after=("daemon", "database")),
            Check(
                "camera",
                lambda: devices.camera_device(config, account, daemon=self._runs),
                after=("database",),
            ),
            self._condition("picture", ("camera",), instead=lambda: devices.camera_frame(config)),
            Check("pictures", devices.pictures),
            Check("models", partial(devices.models, config)),
            self._condition("face", ("database",)),
            self._condition("intake", instead=lambda: devices.drop_folder(config, account)),
            self._condition("desk"),
        ]

    def _way(self) -> list[Check]:
        way = Way(self._config)
        proof = partial(way.signature, self._clock)
        return [
            Check("name", way.name),
            Check("line", way.line, ("name",)),
            Check("certificate", way.certificate, ("line",)),
            Check("skew", partial(way.clock, self._clock), ("certificate",)),
            self._condition(
                "signature", ("certificate", "secrets"), instead=lambda: proof(self._device_status)
            ),
        ]

    # --- what the owner answers ---------------------------------------------------------------------

    @property
    def _device_status(self) -> int:
        return int(self._report.get("device", {}).get("status", 0))

    def _database(self) -> Found:
        if not self._runs:  # which has answered already, all of it
            self._report = {**self._report, **self._ask("status")}
        return GOOD

    def _decoder(self) -> Found:
        """Believe the last real card if the daemon met one; else see whether the decoder starts."""
        found = conditions.NAMED["decoder"].found(self._report, self._clock.now())
        if found is not None and found[0] is not None:
            return found
        return devices.decoder(self._config)

    def _secrets(self) -> Found:
        """Say whether every secret that the configuration names can be had.

        Credentials are systemd's to give: a daemon that runs has them, and to a command they are not shown.
        """
        for name, secret in named_secrets(self._config).items():
            if secret.credential is None or not self._runs:
                keys.read_secret(secret, name)
        return GOOD


def _once(results: list[Result]) -> list[Result]:
    """Let what was told before follow from it: a failure is told once."""
    told: dict[str, str] = {}
    found = []
    for result in results:
        if result.check in ECHOES and result.code in told:
            found.append(replace(result, code=None, facts={}, follows=told[result.code]))
        else:
            found.append(result)
            told.setdefault(result.code or "", result.check)
    return found
