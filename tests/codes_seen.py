"""Which codes of the catalogue a test run has really met: raised, logged, posted, found or printed.

A code that no test ever raises is a sentence nobody has seen. The recorder listens where codes come into being
- errors, log lines, the board, whatever carries a `code` - and reads what child processes print. After a whole
run every code must have been met; a part of the suite proves nothing and is not judged. Workers of pytest-xdist
hand in what they saw.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import messages_seen
import pytest

from agent import catalogue, logs
from agent.board import Board
from agent.catalogue import Entry, entries
from drivers import errors
from drivers.errors import CodedError

CODE = re.compile(r"(?<![A-Za-z0-9])[EWI][1-8]\d{3}(?![A-Za-z0-9])")
ROOMS = {"agent", "drivers"}
THROUGH = {__file__, errors.__file__, catalogue.__file__}
PROGRAM = tuple(f"{Path(str(module.__file__)).parent}{os.sep}" for module in (catalogue, errors))
_seen: set[str] = set()


def saw(*texts: object) -> None:
    """Take note of every code in what was printed or passed."""
    for text in texts:
        if isinstance(text, str):
            _seen.update(CODE.findall(text))


def met(code: str, facts: Mapping[str, object]) -> None:
    """Take note of a code and, where the program and no test made it, of what its sentence is filled with."""
    saw(code)
    if _by_the_program():
        messages_seen.tell(code, facts)


def _by_the_program() -> bool:
    """Return whether the nearest caller that is neither this file nor the error's own is the program's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename in THROUGH or frame.f_code.co_name in {"__init__", "describe"}
    ):
        frame = frame.f_back
    return frame.f_code.co_filename.startswith(PROGRAM)


def never_met(seen: Iterable[str]) -> list[str]:
    """Return the codes of the catalogue that are not among `seen`."""
    return sorted(set(entries()) - set(seen))


class Recorder:
    """The plugin."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._missing: list[str] = []
        self._unreadable: list[str] = []
        self._note = ""

    def pytest_sessionstart(self) -> None:
        """Listen where codes come into being."""
        _listen(CodedError, "__init__", lambda error, *_: met(error.code, error.facts))
        _listen(Board, "post", lambda _board, state, *_: saw(*state.values()))
        _listen(Board, "event", lambda _board, facts, code, *_: met(code, facts))
        _listen(Entry, "title", _shown)
        _listen(Entry, "steps", _shown)
        said = logs.say

        def say(logger: Any, code: str, **fields: object) -> None:
            met(code, fields)
            said(logger, code, **fields)

        logs.say = say

    def pytest_collection_finish(self) -> None:
        """Listen to every class that carries a code, now that the tests have imported what they use."""
        for module in [module for name, module in sys.modules.items() if name.split(".")[0] in ROOMS]:
            for thing in list(vars(module).values()):
                ours = isinstance(thing, type) and thing.__module__ == module.__name__ and thing is not Entry
                if ours and "code" in getattr(thing, "__dataclass_fields__", {}):
                    _listen(thing, "__init__", _made)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand in what was seen; at the end of a whole run, judge."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["codes"] = sorted(_seen)
            self._config.workeroutput["messages"] = messages_seen.all_told()
            return
        self._unreadable = messages_seen.faults(messages_seen.all_told())
        if name := os.environ.get("CODES_SEEN"):  # parts of the suite, run one by one, add up in a file
            _added_up(Path(name))
        if not self._whole(session):
            return
        self._missing = never_met(_seen)
        skipped = self._reports("skipped")
        if self._unreadable or (self._missing and not skipped):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self._note = f"; perhaps by one of the {len(skipped)} tests left out" if skipped else ""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker of pytest-xdist saw."""
        output = getattr(node, "workeroutput", {})
        saw(*output.get("codes", ()))
        messages_seen.handed_in(output.get("messages", ()))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Name the codes that no test raises, and the sentences that a Chinese reader stumbles over."""
        if self._missing:
            terminalreporter.section("codes that no test raises")
            terminalreporter.line(" ".join(self._missing) + self._note)
        if self._unreadable:
            terminalreporter.section("sentences that are not Chinese, or not filled in")
            for fault in self._unreadable:
                terminalreporter.line(fault)

    def _whole(self, session: pytest.Session) -> bool:
        """Return whether everything was run that `make test` runs, to its end."""
        option = self._config.option
        narrowed = option.keyword or option.markexpr or getattr(option, "lf", False) or option.collectonly
        everything = self._config.args in (self._config.getini("testpaths"), [str(self._config.rootpath)])
        stopped = (
            session.shouldstop or session.shouldfail or self._reports("failed") or self._reports("error")
        )
        return everything and not narrowed and not stopped

    def _reports(self, outcome: str) -> list[Any]:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        return list(reporter.stats.get(outcome, [])) if reporter else []


def _made(made: Any, *_: object) -> None:
    if isinstance(made.code, str):
        saw(made.code)
        if _by_the_program():
            messages_seen.tell(made.code, getattr(made, "facts", {}), at_its_origin=False)


def _shown(said: Entry, keywords: Mapping[str, Any], _lang: str, facts: Any = None) -> None:
    facts = keywords.get("facts", facts)
    if facts is not None and _by_the_program():  # without facts the sentence itself is explained
        messages_seen.tell(said.code, facts, at_its_origin=False)


def _listen(owner: type, name: str, note: Callable[..., None]) -> None:
    """Call `note` after each call of a method, with the object, the keywords and the arguments."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def heard(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = real(self, *args, **kwargs)
        note(self, kwargs, *args)
        return result

    setattr(owner, name, heard)


def _added_up(path: Path) -> None:
    before = path.read_text("utf-8").split() if path.exists() else []
    _seen.update(before)
    path.write_text("\n".join(sorted(_seen)) + "\n", "utf-8")
