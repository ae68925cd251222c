"""A whole site for tests: the real daemon, the simulated reader and platform, each its own process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import codes_seen
import cv2

from agent.simulate import portraits, site
from drivers.simulator import cards as deck
from drivers.simulator.cards import SimulatedCard
from drivers.simulator.reader import SimulatedReader, parse_faults

#: A step that takes longer than this on a shared machine is hung.
PATIENCE_S = 60.0
#: How long a registrar waits for a card to be kept; how long a hand takes to lay the next one down.
CARD_S, HAND_S = 20.0, 0.4


def wait_for(what: str, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait until `condition` holds. AssertionError naming `what` when it does not come to hold."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:.0f} s in vain: {what}"
        time.sleep(0.02)


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """`kiosk-agent ...` as its own process, its output in a file."""

    def __init__(self, arguments: Sequence[str], output: Path, env: Mapping[str, str] | None = None) -> None:
        self.output = output
        self._stream = output.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agent", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._stream.close()
        codes_seen.saw(self.text())

    def terminate(self, within_s: float) -> int:
        """SIGTERM. Return the exit status; AssertionError when it takes longer."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {within_s} s after SIGTERM") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for the end. Return the exit status."""
        return self._process.wait(patience_s)

    def text(self) -> str:
        """Return everything printed so far."""
        return self.output.read_text("utf-8", errors="replace")


class Site:
    """One made-up hospital in a folder."""

    def __init__(self, folder: Path, changes: Mapping[str, Any] | None = None, live: str = "collins") -> None:
        self.folder = folder
        self.port = free_port()
        self.reader_link = folder / "reader"
        self.ledger = folder / "ledger.jsonl"
        camera = folder / "camera.png"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(camera), portraits.live(live))
        self.config = site.build(
            folder,
            site.Credentials.made_up(),
            base_url=f"http://127.0.0.1:{self.port}",
            reader_port=str(self.reader_link),
            camera=str(camera),
            changes={
                "platform": {"drain_per_minute": 6000, "retry_budget_per_hour": 100000},
                "reader": {"poll_interval_s": 0.3},
                **(changes or {}),
            },
        )

    def daemon(self, env: Mapping[str, str] | None = None) -> Process:
        """Start `kiosk-agent run`."""
        return Process(["run", "--config", str(self.config)], self.folder / "daemon.log", env)

    def platform(self, *faults: str) -> Process:
        """Start `kiosk-agent simulate platform` and wait until it listens."""
        arguments = ["simulate", "platform", "--config", str(self.config), "--port", str(self.port)]
        arguments += ["--ledger", str(self.ledger)]
        for fault in faults:
            arguments += ["--fault", fault]
        process = Process(arguments, self.folder / "platform.log")
        return self._up(process, "the simulated platform listens", self._listening)

    def reader(self, cards: int, loop_s: float | None = None, *faults: str) -> Process:
        """Start `kiosk-agent simulate reader` and wait until its port is there."""
        arguments = ["simulate", "reader", "--port-link", str(self.reader_link), "--cards", str(cards)]
        if loop_s is not None:
            arguments += ["--loop", str(loop_s)]
        for fault in faults:
            arguments += ["--fault", fault]
        process = Process(arguments, self.folder / "reader.log")
        return self._up(process, "the simulated reader is there", self.reader_link.exists)

    @contextmanager
    def registrar(self, cards: int, *faults: str, patience_s: float = CARD_S) -> Iterator[SimulatedReader]:
        """Lay so many cards down as a person does: the next one when this one was kept, however long it takes.

        A card of which nothing comes - the daemon was killed over it - is laid down once more after `patience_s`.
        """
        laid, pictures = deck.generate(1, cards), [portraits.path(name) for name in ("collins", "hopper")]
        stop = threading.Event()

        def lay(card: SimulatedCard) -> bool:
            before, given_up = len(self.kept()), time.monotonic() + patience_s
            reader.place(card)
            while len(self.kept()) == before and time.monotonic() < given_up and not stop.wait(0.05):
                pass
            reader.lift()
            stop.wait(HAND_S)
            return len(self.kept()) > before

        def work() -> None:
            for card in laid:
                while not stop.is_set() and not lay(card):
                    pass

        with SimulatedReader(laid, pictures, None, parse_faults(faults)) as reader:
            reader.link(self.reader_link)
            person = threading.Thread(target=work, name="registrar")
            person.start()
            try:
                yield reader
            finally:
                stop.set()
                person.join()

    @staticmethod
    def _up(process: Process, what: str, condition: Callable[[], bool]) -> Process:
        try:
            wait_for(what, condition)
        except AssertionError:
            process.kill()
            raise
        return process

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "agent", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if "explain" not in arguments:  # which tells of codes that nobody met
            codes_seen.saw(done.stdout, done.stderr)
        return done

    def stats(self) -> dict[str, Any]:
        """Return the outbox's counters, from the daemon or in-process."""
        answer = self.cli("outbox", "stats", "--json")
        assert answer.returncode == 0, answer.stderr
        counters: dict[str, Any] = json.loads(answer.stdout)
        return counters

    def accepted(self) -> list[str]:
        """Return the request ids that the platform wrote down, in order, repeats included."""
        if not self.ledger.exists():
            return []
        lines = [
            json.loads(line) for line in self.ledger.read_text("utf-8").splitlines() if line.endswith("}")
        ]
        return [line["requestId"] for line in lines if line.get("kind") != "device"]

    def log(self) -> str:
        """Return the daemon's log, over all its lives."""
        path = self.folder / "daemon.log"
        return path.read_text("utf-8", errors="replace") if path.exists() else ""

    def kept(self) -> set[str]:
        """Return the ids of all records that the daemon ever reported as kept."""
        return set(re.findall(r"\[I300[12]\] record=([0-9a-f]{32})", self.log()))

    def _listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
