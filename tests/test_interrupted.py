"""Ctrl-C while a command is still being read from the disk: it ends with 130, and without a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Interrupts the program the moment that it wants a certain module: a hand is never that exact.
PROGRAM = """
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)
wanted = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupting())
runpy.run_module("agent", run_name="__main__", alter_sys=True)
"""
#: In the order in which they are read: long before the command line is understood, and after it.
MODULES = (
    "agent.cli.main",
    "click",
    "agent.catalogue",
    "agent.cli.status",
    "agent.config.schema",
    "pydantic",
)


def interrupted(module: str, *command: str) -> tuple[int, str, str]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, *command], capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout, run.stderr.strip()


@pytest.mark.parametrize("module", MODULES)
def test_an_interruption_at_any_moment_of_the_start_is_quiet(module: str, tmp_path: Path) -> None:
    assert interrupted(module, "status", "--config", str(tmp_path / "none.yaml")) == (130, "", "")


def test_so_is_one_while_an_error_is_being_told() -> None:
    assert interrupted("agent.config", "explain", "E0000") == (130, "", "")


def test_the_installed_command_starts_the_same_way() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    assert 'kiosk-agent = "agent.__main__:main"' in project.read_text("utf-8")


def test_whoever_ignores_interruptions_goes_on_ignoring_them() -> None:
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + PROGRAM
    run = subprocess.run(
        [sys.executable, "-c", ignoring, "click", "explain", "E1103"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "E1103" in run.stdout
