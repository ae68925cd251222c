"""The HTTP server on a real port, over a real state directory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from e2e_support import free_port, wait_for

from agent.board import Board
from agent.clock import Clock, SystemClock
from agent.config import Config, load
from agent.console import Console
from agent.console.server import Part
from agent.control.powers import Powers
from agent.ownership import Ownership, owning
from agent.simulate import site
from agent.supervisor import Loop, LoopState


def configuration(folder: Path, changes: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of a made-up site whose server listens on a free port."""
    path = site.build(
        folder,
        site.Credentials.made_up(),
        base_url="http://127.0.0.1:9",
        reader_port="/nowhere",
        camera="none",
        changes={"console": {"listen": f"127.0.0.1:{free_port()}"}, **(changes or {})},
    )
    return load(path)


@dataclass
class Served:
    """A console that answers, and what is behind it."""

    config: Config
    own: Ownership
    board: Board
    console: Console
    loop: Loop
    loops: list[LoopState] = field(default_factory=list)  # beside its own

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://{self.config.console.listen}"

    def get(self, path: str, **options: Any) -> requests.Response:
        """Ask for a path."""
        return self.request("GET", path, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Ask, whatever proxy the environment names."""
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, timeout=30, **options)

    def up(self) -> bool:
        """Return whether it listens."""
        return self.console.address is not None


@contextmanager
def served(
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    parts: Sequence[Part] | Callable[[Powers, Board], Sequence[Part]] = (),
    clock: Clock | None = None,
) -> Iterator[Served]:
    """Run a console for the length of a block."""
    config = configuration(folder, changes)
    with owning(config, SystemClock()) as own, serving(config, own, parts, clock) as one:
        wait_for("the console listens", one.up)
        yield one


@contextmanager
def serving(
    config: Config,
    own: Ownership,
    parts: Sequence[Part] | Callable[[Powers, Board], Sequence[Part]] = (),
    clock: Clock | None = None,
) -> Iterator[Served]:
    """Run a console over a state directory that the caller owns; it may not be listening yet."""
    clock = clock or SystemClock()
    board = Board(clock)
    others: list[LoopState] = []
    own_loop: list[Loop] = []
    powers = Powers(
        own=own,
        board=board,
        loops=lambda: [*(each.state() for each in own_loop), *others],
        config=lambda: config,
    )
    hung_in = parts(powers, board) if callable(parts) else parts
    console = Console(powers, board, clock, hung_in)
    loop = Loop("console", console.run, SystemClock(), board)
    own_loop.append(loop)
    loop.start()
    try:
        yield Served(config, own, board, console, loop, others)
    finally:
        loop.ask_to_stop()
        assert loop.join(30), "the server does not come to its end"


def answered_later(release: threading.Event, entered: threading.Event) -> Part:
    """Return a blueprint whose /slow answers when the server is ending and it is released."""

    def part(ending: threading.Event) -> Any:
        from flask import Blueprint

        blueprint = Blueprint("slow", __name__)

        @blueprint.get("/slow")
        def slow() -> str:
            entered.set()
            ending.wait(60)
            release.wait(60)
            return "done"

        @blueprint.post("/broken")
        def broken() -> str:
            raise ValueError("测试韦某某 45010219900101004X")

        return blueprint

    return part
