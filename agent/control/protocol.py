"""One request, one answer, a line of JSON each. No input or output.

-> {"verb": "outbox.retry", "args": {"id": "..."}, "name": "nurse1"}
<- {"ok": true, "result": ...}   or   {"ok": false, "code": "E3115", "facts": {...}}
"""

from __future__ import annotations

import getpass
import json
import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agent.catalogue import AgentError
from drivers.errors import CodedError

#: The largest request is an import's: one sealed record of up to 9 MB in base64.
MAX_LINE = 16 * 2**20
MAX_NAME = 64


@dataclass(frozen=True)
class Caller:
    """Who asks: the kernel's word for uid and pid, and the name the caller claims."""

    uid: int
    pid: int
    claimed: str = ""

    @property
    def name(self) -> str:
        """Return who is audited: the account, and the claimed name where it differs."""
        try:
            account = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            account = f"uid{self.uid}"
        return account if self.claimed in {"", account} else f"{account}/{self.claimed}"

    @classmethod
    def of_this_process(cls) -> Caller:
        """Return this process as a caller."""
        return cls(os.getuid(), os.getpid(), own_name())


Handler = Callable[[Mapping[str, Any], Caller], Any]


def own_name() -> str:
    """Return the name this process claims: whoever called sudo, or the login."""
    name = os.environ.get("SUDO_USER")
    try:
        return (name or getpass.getuser())[:MAX_NAME]
    except (KeyError, OSError):
        return ""


def encoded(message: Mapping[str, Any]) -> bytes:
    """Return one line."""
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"


def request(line: bytes) -> tuple[str, dict[str, Any], str]:
    """Return verb, arguments and claimed name. AgentError E8201 for a line that is no request."""
    try:
        message = json.loads(line)
        verb, args, name = message["verb"], message.get("args", {}), message.get("name", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise AgentError("E8201") from None
    if not (isinstance(verb, str) and isinstance(args, dict) and isinstance(name, str)):
        raise AgentError("E8201")
    printable = "".join(character for character in name if character.isprintable())
    return verb, args, printable[:MAX_NAME]


def failure(error: CodedError) -> bytes:
    """Return the answer for an error; of a configuration's errors each finding with its place."""
    told = {"ok": False, "code": error.code, "facts": dict(error.facts)}
    findings = [asdict(finding) for finding in getattr(error, "findings", ())]
    return encoded(told | ({"findings": findings} if findings else {}))


def result(line: bytes) -> Any:
    """Return an answer's result. AgentError with the daemon's code when it is an error."""
    try:
        message = json.loads(line)
        good = message["ok"]
    except (ValueError, KeyError, TypeError):
        raise AgentError("E8201") from None
    if good:
        return message.get("result")
    if findings := message.get("findings"):
        # Imported here: whoever asks for the status must not pay for the configuration's libraries.
        from agent.config.findings import ConfigError, Finding, Place

        raise ConfigError([Finding(**{**one, "place": Place(**one["place"])}) for one in findings])
    raise AgentError(str(message.get("code", "E8201")), **message.get("facts", {}))
