"""The HTTP server as one loop of the daemon: it beats, it ends in time, and a taken port ends nobody else.

waitress serves; each turn of its select loop is ours, so that the heartbeat means that somebody still
accepts. A request under way when the daemon stops gets its answer if that takes less than FINISH_S.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agent import logs
from agent.board import Board
from agent.clock import Clock
from agent.control.powers import Powers
from agent.heartbeat import Heartbeat

if TYPE_CHECKING:
    from flask import Blueprint, Flask

log = logs.get(__name__)

#: Longest wait within one turn of the loop: how long a stop may go unnoticed.
TURN_S = 0.25
#: How long answers under way may take once the daemon stops; all loops together have four seconds.
FINISH_S = 1.5
#: A port that is taken is tried again this often.
RETRY_S = 15.0
#: Threads beside those that event streams hold (console.max_streams).
WORKERS = 4
#: Connections at once; the next one waits in the backlog.
MAX_CONNECTIONS = 48
MAX_HEADER_BYTES = 16 * 2**10
#: Above anything that a handler takes, so that its own answer is the one that is heard. Bodies stay in
#: memory: a temporary file would hold personal data.
MAX_BODY_BYTES = 16 * 2**20
#: A connection that says nothing for so long is closed.
IDLE_S = 30

#: Makes a blueprint; called in the server's thread, with the event that is set when the server ends.
Part = Callable[[threading.Event], "Blueprint"]


class Console:
    """Listens on console.listen until asked to stop. One thread, and waitress's workers below it."""

    def __init__(self, powers: Powers, board: Board, clock: Clock, parts: Sequence[Part] = ()) -> None:
        self._powers = powers
        self._board = board
        self._clock = clock
        self._parts = parts
        self._told = False
        self.address: tuple[str, int] | None = None

    def run(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Serve until `stop` is set; while the port is taken, say so once and try again."""
        while not stop.is_set():
            listen = self._powers.current().console.listen
            try:
                listening = listening_on(listen)
            except OSError as error:
                self._impossible(listen, error)
                with heartbeat.silence(RETRY_S):
                    stop.wait(RETRY_S)
                continue
            with listening:
                self._serve(listening, heartbeat, stop)

    def _impossible(self, listen: str, error: OSError) -> None:
        # The same fault is told once, not four times a minute.
        facts = {"listen": listen, "reason": error.strerror or type(error).__name__}
        if not self._told:
            self._told = True
            logs.say(log, "E8401", **facts)
            self._board.event("E8401", **facts)
        self._board.post("console", state="down", code="E8401", facts=facts)

    def _serve(self, listening: socket.socket, heartbeat: Heartbeat, stop: threading.Event) -> None:
        from waitress import wasyncore
        from waitress.server import create_server

        _quiet()
        ending = threading.Event()
        app = self._app(ending)
        streams = self._powers.current().console.max_streams
        channels: dict[int, Any] = {}
        # Any: the stubs know neither that one socket makes one server, nor what its channels are.
        server: Any = create_server(
            app,
            map=channels,
            sockets=[listening],
            threads=streams + WORKERS,
            ident=None,
            connection_limit=MAX_CONNECTIONS,
            # Read on while an answer goes out: a stream learns at once that nobody listens any more.
            channel_request_lookahead=1,
            channel_timeout=IDLE_S,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            inbuf_overflow=MAX_BODY_BYTES,
            outbuf_overflow=MAX_BODY_BYTES,
        )
        self._told = False
        self.address = listening.getsockname()[:2]
        host, port = self.address
        logs.say(log, "I8401", listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        self._board.post("console", state="ok")
        try:
            while not stop.is_set():
                heartbeat.beat()
                wasyncore.loop(TURN_S, use_poll=True, map=channels, count=1)
            ending.set()
            self._finish(server, channels)
        finally:
            ending.set()
            self.address = None
            wasyncore.close_all(channels, ignore_all=True)
            server.task_dispatcher.shutdown(timeout=FINISH_S)

    def _app(self, ending: threading.Event) -> Flask:
        from agent.console.app import build

        return build(self._powers, self._clock, [part(ending) for part in self._parts])

    def _finish(self, server: Any, channels: dict[int, Any]) -> None:
        """Take nothing new, and let what is under way be answered."""
        from waitress import wasyncore

        server.accepting = False
        deadline = self._clock.monotonic() + FINISH_S
        while self._clock.monotonic() < deadline and any(map(_busy, list(server.active_channels.values()))):
            wasyncore.loop(TURN_S, use_poll=True, map=channels, count=1)


def _busy(channel: Any) -> bool:
    return bool(channel.requests or channel.total_outbufs_len)


def listening_on(listen: str) -> socket.socket:
    """Return a listening socket for console.listen. OSError when that cannot be."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    # One address, not whatever else a name server or hosts file makes of it.
    host = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=MAX_CONNECTIONS)


def _quiet() -> None:
    """Keep waitress from telling the journal of every deep queue and every caller that hung up."""
    for name in ("waitress", "waitress.queue"):
        logging.getLogger(name).setLevel(logging.ERROR)
