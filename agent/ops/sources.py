"""Where a support bundle's pieces come from. Each may be missing; none waits longer than a few seconds."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from agent import __version__, keys
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.config import Config, Finding
from agent.config.described import keys as known_keys
from agent.config.schema import named_secrets
from agent.config.writing import public
from agent.ops import bundle, down
from agent.ops.access import as_owner_of
from agent.ops.bundle import Bundle
from agent.ops.doctor import Doctor
from agent.ops.unconfigured import Unconfigured

COMMAND_S = 5.0
JOURNAL_LINES = 2000
TRAIL_LINES = 300
LIBRARIES = [
    "click", "cryptography", "flask", "gmssl", "numpy", "opencv-python-headless", "opencv-python",
    "prometheus-client", "pydantic", "pyserial", "pyusb", "pyyaml", "requests", "sqlite-utils", "tenacity",
    "waitress",
]  # fmt: skip
UNIT = [
    "ActiveState", "SubState", "Result", "NRestarts", "ExecMainStatus", "MemoryCurrent", "TasksCurrent",
    "UnitFileState",
]  # fmt: skip
#: Files of a state directory; the name of any other may be anybody's.
STATE_FILES = frozenset({
    "outbox.db", "outbox.db-wal", "outbox.db-shm", "audit.jsonl", "audit.torn", "lock", "ballast",
    "control.sock", "keys", "last_run.json", "last_check.json", "seal.key", "audit.key", "pseudonym.key",
})  # fmt: skip
CLOSED_TRAIL = re.compile(r"audit-\d{10}\.jsonl")

Ask = Callable[..., Any]

#: Why a piece is not in the bundle, where no code says it.
NO_CONFIG = "the configuration cannot be used: see check.json"
NO_STATE = "there is no state directory, or this account may not see it"


def collect(
    config: Config | None,
    findings: Sequence[Finding],
    daemon: Callable[[], Any],
    ask: Ask,
    clock: Clock,
    state_dir: Path | None = None,
) -> Bundle:
    """Return the bundle. `config` is None when it cannot be used; `ask` a verb of the control socket.

    `state_dir`: where the state is although the configuration cannot be used, if that is known.
    """
    made = Bundle(clock.now(), _known_secrets(config) if config else ())
    made.add("machine.json", _machine)
    made.add("check.json", lambda: [_finding(one) for one in findings])
    made.add("unit.json", _unit)
    made.add("journal.json", _journal)
    made.add("usb.json", _usb)
    if config is None:
        for name in ("config.json", "audit.json"):
            made.leave_out(name, NO_CONFIG)
        made.add("doctor.json", lambda: bundle.results(Unconfigured(state_dir, daemon, clock).examine()))
        if state_dir is None or not state_dir.is_dir():
            made.leave_out("state.json", NO_CONFIG)
            made.leave_out("status.json", NO_CONFIG)
            return made
        made.add("state.json", partial(_state, state_dir))
        made.add("status.json", lambda: bundle.status(daemon() or down.report(state_dir, 0, "")))
        return made
    made.add("config.json", lambda: public(config))
    if not os.path.isdir(config.state_dir):
        # To ask without a daemon means to own it, and the first owner makes it, keys and all.
        for name in ("state.json", "status.json", "doctor.json", "audit.json"):
            made.leave_out(name, NO_STATE)
        return made
    made.add("state.json", lambda: _state(Path(config.state_dir)))
    made.add("status.json", lambda: bundle.status(daemon() or ask("status")))
    made.add("doctor.json", lambda: bundle.results(Doctor(config, daemon, ask, clock).examine()))
    made.add("audit.json", lambda: bundle.trail(ask("audit.show", {"last": TRAIL_LINES})))
    try:
        ask("bundle.made", {"files": len(made.pieces)})
    except AgentError as error:
        made.leave_out("a line in the audit trail", error.code)
    return made


def _known_secrets(config: Config) -> tuple[bytes, ...]:
    """Return every secret that can be read here: no piece that holds one goes into the bundle."""
    found = []
    for name, secret in named_secrets(config).items():
        try:
            content = keys.read_secret(secret, name)
        except AgentError:
            continue
        # A key of ours is seen as its file holds it, if anywhere.
        found += [content, content.hex().encode()] if name.startswith("keys.") else [content]
    for name in keys.NAMES:
        # As their owner: a file of another account's is no key to root either.
        with contextlib.suppress(AgentError, OSError), as_owner_of(Path(config.state_dir)):
            key = keys.held(config, name, keys.own_key(config, name))
            found += [key, key.hex().encode()]
    # A secret of a few bytes would be "found" in any file.
    return tuple(secret for secret in found if len(secret) >= 6)


def _machine() -> dict[str, Any]:
    release = platform.freedesktop_os_release()
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "agent": __version__,
        "python": platform.python_version(),
        "os": {key: release.get(key) for key in ("ID", "VERSION_ID", "PRETTY_NAME")},
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "root": os.geteuid() == 0,
        "libraries": versions,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    """Return a finding's place and code, and its key where that is one of ours: others are people's words."""
    place, key = finding.place, finding.facts.get("key")
    ours = key if key in {known.name for known in known_keys()} else None
    return {"line": place.line, "column": place.column, "code": finding.code, "key": ours}


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    return done.stdout


def _unit() -> dict[str, str]:
    shown = _run(["systemctl", "show", "kiosk-agent", f"--property={','.join(UNIT)}"])
    return dict(line.partition("=")[::2] for line in shown.splitlines() if "=" in line)


def _journal() -> list[dict[str, Any]]:
    command = ["journalctl", "-u", "kiosk-agent", "-o", "json", "-n", str(JOURNAL_LINES), "--no-pager"]
    return bundle.journal(line for line in _run(command).splitlines() if line.startswith("{"))


def _usb(root: Path = Path("/sys/bus/usb/devices")) -> list[str]:
    found = []
    for vendor in root.glob("*/idVendor"):
        product = vendor.with_name("idProduct")
        found.append(f"{vendor.read_text().strip()}:{product.read_text().strip()}")
    return sorted(found)


def _state(state_dir: Path) -> dict[str, Any]:
    files = []
    for path in sorted(state_dir.rglob("*")):
        found = path.lstat()
        known = path.name in STATE_FILES or CLOSED_TRAIL.fullmatch(path.name)
        name = path.name if known else "(other)"
        files.append({"name": name, "bytes": found.st_size, "mode": oct(found.st_mode & 0o7777)})
    room = os.statvfs(state_dir)
    return {
        "files": files,
        "free": room.f_bavail * room.f_frsize,
        "read_only": bool(room.f_flag & os.ST_RDONLY),
    }
