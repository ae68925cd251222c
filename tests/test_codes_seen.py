"""The recorder of codes: it hears what is raised, said, posted and printed, and judges a whole run alone."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import codes_seen
import pytest
from booted_support import Machine

from agent import logs
from agent.board import Board
from agent.catalogue import AgentError, entries
from agent.clock import SystemClock
from agent.config.findings import Finding, Place

HERE = Path(__file__).parent


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return a fresh set that the recorder writes to, so that this file's codes do not count as met."""
    fresh: set[str] = set()
    monkeypatch.setattr(codes_seen, "_seen", fresh)
    return fresh


def test_every_way_in_which_a_code_comes_into_being_is_heard(heard: set[str]) -> None:
    AgentError("E1101")
    logs.say(logging.getLogger("x"), "I8002")
    board = Board(SystemClock())
    board.post("reader", state="down", code="E1103")
    board.event("W2001")
    Finding("f", Place(), "E6016")
    codes_seen.saw("printed [E3101] beside 0xE3102 and XE31033", None, 5)
    assert heard == {"E1101", "I8002", "E1103", "W2001", "E6016", "E3101"}
    assert codes_seen.never_met(heard) == sorted(set(entries()) - heard)
    assert codes_seen.never_met(entries()) == []


def test_what_is_told_inside_a_booted_system_is_heard(
    heard: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(_machine: Machine, command: Sequence[str]) -> list[str]:
        return ["echo", "I8001\nE3104"] if command[0] == "journalctl" else [*command]

    monkeypatch.setattr(Machine, "_entered", here)
    system = object.__new__(Machine)
    system.run("sh", "-c", "echo [E3101]; echo [E3102] >&2; exit 1", check=False)
    system.run("echo", "explain", "E8302")
    system.type(["sh", "-c", "echo [E3103]"], [])
    assert heard == {"E3101", "E3102", "E3103"}
    # What no test reads is read before the end.
    process = system._process = subprocess.Popen(["sleep", "60"])
    system.power_cut()
    assert process.returncode == -signal.SIGKILL
    assert heard == {"E3101", "E3102", "E3103", "I8001", "E3104"}


SUITE = """
from agent.catalogue import AgentError, entries

def test_it():
    for code in list(entries()){cut}:
        AgentError(code)
"""


@pytest.mark.parametrize(
    ("cut", "arguments", "good"),
    [
        ("", [], True),
        ("[1:]", [], False),
        ("[1:]", ["-k", "it"], True),
        ("", ["-n", "2"], True),
        ("[1:]", ["-n", "2"], False),
    ],
)
def test_a_whole_run_that_missed_a_code_fails_and_names_it(
    tmp_path: Path, cut: str, arguments: list[str], good: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\ntestpaths = ['tests']\n")
    (tmp_path / "tests").mkdir()
    plugin = "import codes_seen\n\ndef pytest_configure(config):\n    config.pluginmanager.register(codes_seen.Recorder(config))\n"
    (tmp_path / "tests/conftest.py").write_text(plugin)
    (tmp_path / "tests/test_it.py").write_text(SUITE.format(cut=cut))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=tmp_path,
        env={**{k: v for k, v in os.environ.items() if k != "CODES_SEEN"}, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode == 0) is good, run.stdout
    assert ("codes that no test raises" in run.stdout) is not good
    assert good or next(iter(entries())) in run.stdout
