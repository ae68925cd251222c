"""What the journal says: one sentence for people, stable fields for programs, nobody's name.

Every line names a code of the catalogue; its sentence is the catalogue's title in the configured
language, followed by `key=value` fields. A person appears only as a keyed pseudonym. A second net
(`Redaction`) takes out whatever looks like an identity number, should a sentence of somebody else's
carry one.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TextIO

from agent import sm
from agent.catalogue import entry
from drivers.errors import CodedError

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
#: journald reads the priority from the line's head (sd-daemon(3)).
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

#: Identity numbers old and new, and foreigners' permit numbers. Longer digit runs (times, ids) are hex or
#: start elsewhere; a record id is 32 hex digits and is not caught because of the boundaries.
_NUMBERS = re.compile(r"(?<![0-9A-Za-z])(?:\d{17}[\dXx]|\d{15}|[A-Z]{3}\d{12})(?![0-9A-Za-z])")
#: Anything long and base64-like can be a picture or a key.
_BLOBS = re.compile(r"[A-Za-z0-9+/]{80,}={0,2}")


class Pseudonyms:
    """The same person gets the same mark, which cannot be turned back without the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, card_number: str) -> str:
        """Return "p:" and ten hex digits of HMAC-SM3 over the normalised card number."""
        return "p:" + self.full(card_number)[:10]

    def full(self, card_number: str) -> str:
        """Return the whole keyed pseudonym, for the outbox's index."""
        return sm.hmac_sm3(self._key, card_number.strip().upper().encode()).hex()


def redact(text: str) -> str:
    """Return `text` without anything that looks like an identity number, a picture or a key."""
    return _BLOBS.sub("[…]", _NUMBERS.sub("[#]", text))


def say(logger: logging.Logger, code: str, **fields: object) -> None:
    """Log one event by its catalogue code; `fields` fill its sentence and follow it as key=value."""
    level = LEVELS[entry(code).severity]
    if logger.isEnabledFor(level):
        facts = {name: str(value) for name, value in fields.items()}
        logger.log(level, code, extra={"agent_code": code, "agent_facts": facts})


def say_error(logger: logging.Logger, error: CodedError, **fields: object) -> None:
    """Log an error under its own code and facts."""
    say(logger, error.code, **{**error.facts, **fields})


class LineFormatter(logging.Formatter):
    """`sentence [CODE] key=value ...`, redacted, one line; with a priority mark below systemd."""

    def __init__(self, lang: str, *, priority: bool) -> None:
        super().__init__()
        self._lang = lang
        self._priority = priority

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback's lines are joined so that one event stays one entry."""
        code: str | None = getattr(record, "agent_code", None)
        if code is None:
            text = f"{record.name}: {record.getMessage()}"
        else:
            facts: dict[str, str] = getattr(record, "agent_facts", {})
            fields = " ".join(f"{name}={value}" for name, value in facts.items())
            text = f"{entry(code).title(self._lang, facts)} [{code}] {fields}".rstrip()
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info).replace("\n", " | ")
        text = redact(text.replace("\n", " "))
        if self._priority:
            return f"<{_PRIORITY.get(record.levelno, 6)}>{text}"
        stamp = self.formatTime(record, "%H:%M:%S")
        return f"{stamp}.{int(record.msecs):03d} {record.levelname:<7} {text}"


def set_up(lang: str, level: str, stream: TextIO | None = None) -> None:
    """Send everything to one stream, formatted; call once, at the start of a process."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(lang, priority="JOURNAL_STREAM" in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These print headers and addresses of whole requests at DEBUG, tickets included.
    for name in ("urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.WARNING)


def get(name: str) -> logging.Logger:
    """Return the logger of a room."""
    return logging.getLogger(name)


def set_level(level: str) -> None:
    """Change the level of a running process."""
    logging.getLogger().setLevel(level.upper())
