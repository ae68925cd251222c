"""`doctor`: every check in the order in which one depends on the other, each with what to do about it.

It works with the daemon running, which is then asked for what it holds, and without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agent import keys
from agent.clock import Clock, Trust
from agent.config.schema import Config, named_secrets
from agent.ops import checking, devices, machine, status, stored
from agent.ops.access import service_account
from agent.ops.checking import GOOD, Check, Found, Result
from agent.ops.reach import Way

#: Everything together; promised to whoever stands before a broken kiosk.
WITHIN_S = 9.5

Ask = Callable[[str], Any]


class Doctor:
    """What the checks share: the configuration, and what the owner of the state directory answers.

    `daemon` returns the running daemon's status, None where none runs; `ask` is a verb of the control
    socket, answered by the daemon or in this process.
    """

    def __init__(self, config: Config, daemon: Callable[[], Any], ask: Ask, clock: Clock) -> None:
        self._config = config
        self._reached = daemon
        self._ask = ask
        self._clock = clock
        self._state_dir = Path(config.state_dir)
        self._account = service_account(self._state_dir)
        self._live: dict[str, Any] | None = None
        self._status: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}

    def examine(self, within_s: float = WITHIN_S) -> list[Result]:
        """Make every check."""
        return checking.run([*self._here(), *self._kept(), *self._devices(), *self._way()], within_s)

    def _here(self) -> list[Check]:
        # Reading the outbox as root means acting as its owner for a moment: what reads files waits for that.
        return [
            Check("package", partial(machine.package, self._account)),
            Check("daemon", self._daemon),
            Check("disk", partial(machine.disk, self._state_dir, self._account), after=("database",)),
            Check("secrets", self._secrets, after=("daemon", "database")),
            Check("time source", machine.time_source),
            Check("journal", machine.journal),
            Check("console", lambda: machine.listening(self._config, daemon=self._runs), after=("daemon",)),
        ]

    def _kept(self) -> list[Check]:
        def of_queue(name: str, look: Callable[[Mapping[str, Any]], Found]) -> Check:
            return Check(name, lambda: look(self._status["queue"]), ("database",))

        return [
            Check("sealing", stored.sealing_cost),
            Check("database", self._database, after=("daemon",)),
            of_queue("queue", lambda queue: stored.age(queue, self._clock.now())),
            of_queue("balance", stored.balance),
            of_queue("room", stored.room),
            of_queue("unreadable", lambda queue: stored.some("E3127", queue["quarantined"])),
            of_queue("refused", lambda queue: stored.some("W3128", queue["parked"])),
            of_queue("machine", lambda queue: ("E3122" if queue["copied"] else None, {})),
            Check("keys", lambda: stored.keys(self._keys), ("database",)),
            Check("key files", lambda: stored.key_files(self._keys), ("database",)),
            Check("backup", lambda: (None if self._keys["backed_up"] else "W7307", {}), ("database",)),
            Check("clock", self._trusted, ("database",)),
            Check("audit", self._trail, ("database",)),
            Check("registration", self._registration, ("database",)),
        ]

    def _devices(self) -> list[Check]:
        config, account = self._config, self._account
        return [
            Check(
                "port", lambda: devices.reader_port(config, account, daemon=self._runs), after=("database",)
            ),
            Check("reader", lambda: devices.reader(config, self._topics, daemon=self._runs), ("port",)),
            Check("decoder", lambda: devices.decoder(config, self._topics), after=("daemon", "database")),
            Check(
                "camera",
                lambda: devices.camera_device(config, account, daemon=self._runs),
                after=("database",),
            ),
            Check(
                "picture", lambda: devices.camera_frame(config, self._topics, daemon=self._runs), ("camera",)
            ),
            Check("models", partial(devices.models, config)),
        ]

    def _way(self) -> list[Check]:
        way = Way(self._config)
        return [
            Check("name", way.name),
            Check("line", way.line, ("name",)),
            Check("certificate", way.certificate, ("line",)),
            Check("skew", partial(way.clock, self._clock), ("certificate",)),
            Check(
                "signature",
                lambda: way.signature(
                    self._clock, self._topics, daemon=self._runs, status=self._device_status
                ),
                ("certificate", "secrets"),
                after=("daemon", "database"),
            ),
        ]

    # --- what the owner answers ---------------------------------------------------------------------

    @property
    def _runs(self) -> bool:
        return self._live is not None

    @property
    def _topics(self) -> devices.Topics:
        topics: devices.Topics = (self._live or {}).get("topics", {})
        return topics

    def _database(self) -> Found:
        self._status, self._keys = self._ask("status"), self._ask("keys.state")
        return GOOD

    def _daemon(self) -> Found:
        self._live = self._reached()
        if self._live is None:
            return "W8602", {}
        late = [loop["name"] for loop in self._live["loops"] if loop["late_s"] or not loop["alive"]]
        return ("E8605", {"loops": ", ".join(late)}) if late else (None, {"version": self._live["version"]})

    def _trail(self) -> Found:
        alarm = self._status.get("audit_alarm")
        return (alarm["code"], alarm) if alarm else GOOD

    @property
    def _device_status(self) -> int:
        return int(self._status.get("device", {}).get("status", 0))

    def _registration(self) -> Found:
        device = self._status["device"]
        return status.device_code(device) or None, {"device": device["device"]}

    def _trusted(self) -> Found:
        if self._status["clock_trusted"] or (self._status["clock_trust"] == "unchecked" and not self._runs):
            return GOOD  # without a daemon nobody has had the occasion to hold it against the platform's
        state = str(self._status["clock_trust"])
        facts = {"state": state, "now": self._clock.now().isoformat(timespec="seconds")}
        return ("E7503" if state in {Trust.UNSET.value, Trust.BEHIND.value} else "W7507"), facts

    def _secrets(self) -> Found:
        """Say whether every secret that the configuration names can be had.

        Credentials are systemd's to give: a daemon that runs has them, and to a command they are not shown.
        """
        for name, secret in named_secrets(self._config).items():
            if secret.credential is None or not self._runs:
                keys.read_secret(secret, name)
        return GOOD
