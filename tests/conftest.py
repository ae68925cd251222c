"""What every test gets: nothing left running, and nothing left out in silence."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from typing import Any

import codes_seen
import pytest
from hypothesis import settings

# The machine is shared: how long an example takes says nothing.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"


def pytest_configure(config: pytest.Config) -> None:
    """Keep a list of the catalogue's codes that the run meets."""
    config.pluginmanager.register(codes_seen.Recorder(config))


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind: in the daemon it would hold a device or a lock."""
    before = set(threading.enumerate())
    yield
    # The child of pictures_support is everybody's, and goes by itself when nobody has a picture for it.
    fresh = {thread for thread in threading.enumerate() if thread.name != "pictures"} - before
    for thread in fresh:
        thread.join(timeout=5)
    left = [thread.name for thread in fresh if thread.is_alive()]
    assert not left, f"threads left running: {left}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave soak tests out unless they were asked for by name."""
    if config.getoption("-m"):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if item not in soak]
        config.stash[_LEFT_OUT] = [f"{len(soak)} soak tests: they take long; run `make soak`"]


_LEFT_OUT: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under REQUIRE_ALL=1 a skip is a failure: the proof must be whole."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under REQUIRE_ALL=1: {report.longrepr}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker process left out to the one that prints."""
    output: dict[str, list[str]] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash.get(_LEFT_OUT, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it over; each worker has collected, and left out, the same."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and why."""
    soak: list[str] = config.stash.get(_LEFT_OUT, [])
    left_out = [*soak]
    for report in terminalreporter.stats.get("skipped", []):
        left_out.append(f"{report.nodeid}: {report.longrepr[2] if report.longrepr else ''}")
    terminalreporter.section("left out")
    for line in left_out or ["nothing"]:
        terminalreporter.line(line)
