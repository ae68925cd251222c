"""What the journal says: one sentence for people, stable fields for programs, nobody's name.

Every line names a code of the catalogue; its sentence is the catalogue's title in the configured
language, followed by `key=value` fields. A person appears only as a keyed pseudonym. A second net
(`Redaction`) takes out whatever looks like an identity number, should a sentence of somebody else's
carry one. A device that fails again and again is told once, then counted (repeats.py).
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TextIO

from agent import journal, sm
from agent.catalogue import entry
from agent.repeats import Repeats
from drivers.errors import CodedError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
#: What goes over the reader's line, below everything else; drivers.transport.traced says how much of it.
TRAFFIC = 5
logging.addLevelName(TRAFFIC, "TRAFFIC")

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

    def __init__(self, lang: str, *, priority: bool = False, bare: bool = False) -> None:
        super().__init__()
        self.lang = lang
        self._priority = priority
        self._bare = bare

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback's lines are joined so that one event stays one entry."""
        code: str | None = getattr(record, "agent_code", None)
        if code is None:
            text = f"{record.name}: {record.getMessage()}"
        else:
            facts: dict[str, str] = getattr(record, "agent_facts", {})
            fields = " ".join(f"{name}={value}" for name, value in facts.items())
            text = f"{entry(code).title(self.lang, facts)} [{code}] {fields}".rstrip()
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info).replace("\n", " | ")
        text = redact(text.replace("\n", " "))
        if self._bare:  # the journal has time and priority of its own
            return text
        if self._priority:
            return f"<{journal.priority(record.levelno)}>{text}"
        stamp = self.formatTime(record, "%H:%M:%S")
        return f"{stamp}.{int(record.msecs):03d} {record.levelname:<7} {text}"

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 -- the name is logging's
        """Return an error's way, and those of its causes, without their texts: one may quote its input."""
        return "\n".join(line.rstrip() for error in _chain(ei[1]) for line in _way(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _way(error: BaseException) -> Iterator[str]:
    yield f"{type(error).__name__} {error.code if isinstance(error, CodedError) else ''}"
    yield from traceback.format_tb(error.__traceback__)


_formatters: list[LineFormatter] = []


def set_up(lang: str, level: str, stream: TextIO | None = None, env: Mapping[str, str] = os.environ) -> None:
    """Send everything to one place, formatted; call once, at the start of a process.

    Under systemd that is the journal with its fields, elsewhere lines on `stream` (standard error).
    """
    out = stream or sys.stderr
    native = stream is None and journal.ours(sys.stderr.fileno(), env)
    lines: logging.Handler = logging.StreamHandler(out)
    lines.setFormatter(LineFormatter(lang, priority="JOURNAL_STREAM" in env))
    handler = journal.JournalHandler(lines) if native else lines
    if native:
        handler.setFormatter(LineFormatter(lang, bare=True))
    handler.addFilter(Repeats(time.monotonic))
    _formatters[:] = [one.formatter for one in (lines, handler) if isinstance(one.formatter, LineFormatter)]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # These print headers and addresses of whole requests at DEBUG, tickets included.
    for name in ("urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.WARNING)
    set_level(level)


def get(name: str) -> logging.Logger:
    """Return the logger of a room."""
    return logging.getLogger(name)


def reconfigure(lang: str, level: str) -> None:
    """Put another language and level in force; the place stays."""
    for formatter in _formatters:
        formatter.lang = lang
    set_level(level)


def set_level(level: str) -> None:
    """Put the configured level in force. `traffic` is announced: nobody shall leave it on unawares."""
    logging.getLogger().setLevel(level.upper())
    if level == "traffic":
        say(get(__name__), "W8701")


def louder(configured: str) -> None:
    """Say more until `quieter`: all but the reader's line, which the configuration alone turns on."""
    root = logging.getLogger()
    root.setLevel(min(root.level, logging.DEBUG))
    say(get(__name__), "I8701", level="debug", configured=configured)


def quieter(configured: str) -> None:
    """Go back to the configured level."""
    say(get(__name__), "I8701", level=configured, configured=configured)
    set_level(configured)
