"""`support-bundle`: what a vendor needs to see, and nothing about any person.

Nothing is copied. Each piece is made of fields that are allowed by name - a field nobody thought of stays
out -, free text stays out altogether, and every piece is held against the secrets this machine knows before
it goes in. The manifest says what is missing and why. Each source may fail on its own: a bundle is wanted
most when nothing runs.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from agent import logs
from agent.catalogue import entries
from agent.clock import as_json, rfc3339
from agent.ops.checking import Result
from drivers.errors import CodedError

MAX_PIECE = 2**20
MAX_BUNDLE = 5 * 2**20
#: Facts of errors, checks and events that say something of machines, not of people, nor in others' words.
FACTS = frozenset({
    "balance", "bytes", "cause", "check", "code", "difference", "errno", "exists", "expected", "free", "gcm",
    "hours", "kek", "key", "keys", "kind", "length", "limit", "line", "lines", "listen", "loop", "loops",
    "mode", "model", "ms", "names", "picture", "pid", "pragma", "python", "reason", "received", "records",
    "repeated", "restarts", "row", "sam_id", "seconds", "share", "source", "state", "status", "step", "suite",
    "threshold", "tls", "version", "waited_s", "waiting",
})  # fmt: skip
#: Reasons that name an account.
PERSONAL_REASONS = frozenset({"E1102", "E2102", "E6002"})
#: What a kiosk handed in where a code should stand may be a person's name.
HANDED_IN = "E85"
#: What the platform calls an error; its words for it are not repeated.
_PLATFORM_CODE = re.compile(r"\b(?:[A-Z]\d{4}|[1-5]\d\d)\b")
_WORD = re.compile(r"[A-Za-z0-9_.:+/% ,()\[\]-]{0,160}")
#: How something ended: a word of ours, or a code.
RESULT = re.compile(r"[a-z_ ]{0,20}|[EWI]\d{4}")
RECORD = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Piece:
    """One file of the bundle."""

    name: str
    content: bytes = field(repr=False)


@dataclass
class Bundle:
    """Pieces, and what was left out and why."""

    made_at: datetime
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    pieces: list[Piece] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def add(self, name: str, make: Callable[[], Any]) -> None:
        """Make a piece; whatever keeps it from being made is noted, and the others go on."""
        try:
            self._take(name, _bytes(make()))
        except CodedError as error:
            self.leave_out(name, error.code)
        except Exception as error:  # noqa: BLE001 -- an unknown error's text may quote anything: its kind alone
            self.leave_out(name, type(error).__name__)

    def leave_out(self, what: str, why: str) -> None:
        """Note something that is not in the bundle."""
        self.left_out.append({"what": what, "why": why})

    def _take(self, name: str, content: bytes) -> None:
        if any(secret in content for secret in self.secrets):
            self.leave_out(name, "it held a secret of this machine")
        elif len(content) > MAX_PIECE:
            self.leave_out(name, f"{len(content)} bytes, more than {MAX_PIECE}")
        elif sum(len(piece.content) for piece in self.pieces) + len(content) > MAX_BUNDLE:
            self.leave_out(name, f"the bundle would be larger than {MAX_BUNDLE} bytes")
        else:
            self.pieces.append(Piece(name, logs.redact(content.decode()).encode()))

    def manifest(self) -> bytes:
        """Return what is in the bundle and what is not, as JSON."""
        return _bytes(
            {
                "made_at": self.made_at.isoformat(timespec="seconds"),
                "files": {piece.name: len(piece.content) for piece in self.pieces},
                "left_out": self.left_out,
                "never_in": NEVER,
            }
        )

    def archive(self) -> bytes:
        """Return the whole as one packed archive."""
        made = io.BytesIO()
        with (
            gzip.GzipFile("", "wb", fileobj=made, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for piece in [Piece("manifest.json", self.manifest()), *self.pieces]:
                self._append(archive, piece)
        return made.getvalue()

    def _append(self, archive: tarfile.TarFile, piece: Piece) -> None:
        info = tarfile.TarInfo(f"kiosk-agent-support/{piece.name}")
        info.size, info.mtime, info.mode = len(piece.content), int(self.made_at.timestamp()), 0o600
        archive.addfile(info, io.BytesIO(piece.content))


#: What no bundle ever holds, said in it for whoever has to approve that it leaves the house.
NEVER = [
    "records, pictures, names, card numbers, addresses",
    "keys, secrets, tickets, passwords",
    "free text of journal lines, of the platform's answers and of what people typed",
    "names of operators, of accounts and of this machine",
]


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, default=as_json).encode()


# --- what may pass ----------------------------------------------------------------------------------


def facts(given: Mapping[str, Any], code: str | None = None) -> dict[str, str]:
    """Return the facts that are allowed by name and look like a machine's words."""
    kept = {
        name: str(value) if _WORD.fullmatch(str(value)) else "(text)"
        for name, value in given.items()
        if name in FACTS and value is not None and not _personal(name, code or "")
    }
    if codes := _PLATFORM_CODE.findall(str(given.get("detail", ""))):
        kept["platform_codes"] = " ".join(codes)
    return kept


def _personal(name: str, code: str) -> bool:
    if code.startswith(HANDED_IN):
        return name in {"received", "reason", "key"}
    return name == "reason" and code in PERSONAL_REASONS


def record_id(value: object) -> str:
    """Return a record's id; anything else an event may be about is not repeated."""
    return str(value) if RECORD.fullmatch(str(value)) else "(other)"


def role(who: object) -> str:
    """Return who did something as a part of the program, or as a person without a name."""
    parts = {"service", "station", "uploader", "completion", "intake", "unknown"}
    return str(who) if who in parts else "(person)"


def trail(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return audit lines without names and reasons."""
    return [
        {
            "at": str(line.get("at", "")),
            "who": role(line.get("who")),
            "what": str(line.get("what", "")),
            "object": record_id(line.get("object")),
            "result": result if RESULT.fullmatch(result := str(line.get("result", ""))) else "(text)",
        }
        for line in lines
    ]


def results(found: Iterable[Result]) -> list[dict[str, Any]]:
    """Return doctor's results."""
    return [
        {"check": one.check, "code": one.code, "follows": one.follows, "facts": facts(one.facts, one.code)}
        for one in found
    ]


_QUEUE = frozenset({
    "accepted", "ready", "sending", "held", "parked", "delivered", "quarantined", "discarded", "bytes",
    "difference", "oldest_waiting", "last_success", "attempts", "limit", "free", "ballast", "lost_keys",
    "copied", "waiting", "given_up", "superseded", "moved",
})  # fmt: skip


def status(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the daemon's status: counters, states, codes, loops."""
    topics = {
        name: {"since": state.get("since"), **facts(state, state.get("code"))}
        for name, state in report.get("topics", {}).items()
    }
    queue = {key: value for key, value in report.get("queue", {}).items() if key in _QUEUE}
    plain = ("version", "daemon", "loops", "clock_trusted", "interrupted", "config_hash", "kek")
    down = [reason["code"] for reason in report.get("down", ()) if reason["code"] in entries()]
    return {**{key: report.get(key) for key in plain}, "down": down, "topics": topics, "queue": queue}


def _moment(microseconds: object) -> str | None:
    """Return journald's time in our own form."""
    try:
        return rfc3339(datetime.fromtimestamp(int(str(microseconds)) / 1e6, timezone.utc))
    except (ValueError, OverflowError, OSError):
        return None


def journal(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return journal entries (journalctl -o json) by their codes and facts; their text is not repeated."""
    found = []
    for line in lines:
        entry = json.loads(line)
        kept = {"at": _moment(entry.get("__REALTIME_TIMESTAMP")), "priority": entry.get("PRIORITY")}
        kept |= {"code": entry.get("AGENT_CODE"), "room": entry.get("AGENT_ROOM")}
        if "RECORD" in entry:
            kept["record"] = record_id(entry["RECORD"])
        given = {key[6:].lower(): value for key, value in entry.items() if key.startswith("AGENT_")}
        found.append({**kept, "facts": facts(given, entry.get("AGENT_CODE"))})
    return found
