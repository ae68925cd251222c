"""A simulated reader on a real pty, and the driver on the other end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.simulate import portraits
from drivers.card import CardRecord
from drivers.discovery import open_transport
from drivers.sdt.reader import SdtReader
from drivers.simulator import cards as deck
from drivers.simulator.faults import Faults
from drivers.simulator.reader import SimulatedReader

CARDS = deck.generate(7, 4)


@contextmanager
def simulated(faults: Faults | None = None, loop_s: float | None = None) -> Iterator[SimulatedReader]:
    """Serve a reader with four made-up cards."""
    with SimulatedReader(CARDS, [portraits.path("collins")], loop_s, faults) as reader:
        yield reader


@contextmanager
def driver(port: str) -> Iterator[SdtReader]:
    """Open the driver on a port."""
    reader = SdtReader(open_transport(port), time.monotonic, port)
    try:
        yield reader
    finally:
        reader.close()


def read_card(reader: SdtReader) -> CardRecord | None:
    """Find, select and read; None when nothing is found."""
    if not reader.find():
        return None
    reader.select()
    return reader.read()


def until(condition: Callable[[], bool], patience_s: float = 10.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + patience_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        pause.wait(0.02)


def script(path: Path, body: str) -> list[str]:
    """Write a decoder program and return its command."""
    path.write_text("#!/bin/sh\n" + body, "utf-8")
    path.chmod(0o755)
    return [str(path)]
