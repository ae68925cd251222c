"""How results and errors reach the screen."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from agent import words
from agent.catalogue import AgentError, describe, entry
from agent.cli.platform_words import DEVICE, STATUS
from drivers.errors import CodedError

if TYPE_CHECKING:
    from agent.config import ConfigError
    from agent.config.schema import Device

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: Errors whose facts are a record's states.
OF_A_RECORD = {"E3112", "E3114"}


def print_json(value: object) -> None:
    """Print one JSON document."""
    from agent.clock import as_json  # not for `--version`

    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=as_json))


def shown(value: object) -> str:
    """Return one value for people: times in Beijing's, nothing as a dash, no control characters."""
    if value is None:
        return "-"
    return words.moment(CONTROL.sub(" ", value)) if isinstance(value, str) else str(value)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns that line up although a Han character is two cells wide."""
    lines = [list(header), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(_cells(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (padded(cell, width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def padded(text: str, width: int) -> str:
    """Return text filled up with blanks to a width in cells."""
    return text + " " * max(0, width - _cells(text))


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def complain(error: CodedError, lang: str) -> int:
    """Print an error with what to do about it. Return the exit status its code asks for."""
    if error.code in OF_A_RECORD:
        from agent.cli import outbox_words  # for these alone

        error = AgentError(error.code, **outbox_words.facts(error.facts, lang))
    click.echo(describe(error, lang), err=True)
    for number, step in enumerate(entry(error.code).steps(lang, error.facts), start=1):
        click.echo(f"  {number}. {step}", err=True)
    return entry(error.code).exit


class Told(logging.Handler):
    """What the rooms below have to say while a verb does their work: a sentence, once."""

    def __init__(self, language: Callable[[], str]) -> None:
        super().__init__(logging.WARNING)
        self._language = language
        self._said: set[tuple[str, str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print an event that has a code; what libraries say without one is for the daemon's journal."""
        code: str | None = getattr(record, "agent_code", None)
        facts: dict[str, str] = getattr(record, "agent_facts", {})
        if code is not None and (code, str(facts)) not in self._said:
            self._said.add((code, str(facts)))
            complain(AgentError(code, **facts), self._language())


def complain_of_config(error: ConfigError, lang: str, *, as_json: bool = False) -> int:
    """Print every finding as `file:line:col CODE text`; for programs as `check --json` does. Return 78."""
    if as_json:
        print_json({"ok": False, "findings": [finding.as_json(lang) for finding in error.findings]})
    for finding in error.findings:
        click.echo(finding.line(lang), err=True)
    return entry(error.code).exit


def device_lines(device: Device, lang: str, status: int) -> list[str]:
    """Return what /machine/info says of a device, a line each; `status` of table 4.1."""
    found = _device_values(device, status)
    if lang != "zh":
        return [f"  {name:<21} {value}" for name, value in found.items()]
    found["status"] += f"（{STATUS[status][0]}）"
    return [f"  {padded(DEVICE[name], 12)}{name:<21} {value}" for name, value in found.items()]


def _device_values(device: Device, status: int) -> dict[str, str]:
    """Return what /machine/info says, under the document's names."""
    return {
        "deptId": device.dept_id,
        "deptName": device.dept_name,
        "machineManufacturer": device.manufacturer,
        "machineMode": device.model,
        "purchaseTime": device.purchase_date.isoformat(),
        "machineCode": device.machine_code,
        "deviceNo": device.device_no,
        "status": str(status),
        "registerUser": device.register_user,
    }
