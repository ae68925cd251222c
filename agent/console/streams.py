"""Server-sent events: the whole view each time it changes, to a few pages at once.

waitress spends a thread on each stream, so there are `console.max_streams` places. Whoever finds none gets
503 with Retry-After and asks for the same view now and then.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from agent.board import Board
from agent.console.app import Answer

#: How long a stream may not notice that the server ends, its reader has gone, or a time has passed.
TURN_S = 0.5
#: Turns after which a silent stream says that it lives: either end finds a dead connection.
ALIVE_TURNS = 4
RETRY_S = 5


class Places:
    """Counts streams. Safe from any thread."""

    def __init__(self, places: Callable[[], int]) -> None:
        self._places = places
        self._lock = threading.Lock()
        self.taken = 0
        self.refused = 0

    def take(self) -> None:
        """Take a place. Answer E8409 when all are taken."""
        with self._lock:
            if self.taken >= self._places():
                self.refused += 1
                raise Answer("E8409", HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_S)})
            self.taken += 1

    def give_back(self) -> None:
        """Leave a place."""
        with self._lock:
            self.taken -= 1


class Stream:
    """One stream of views; `close` is called by the server when the answer is over, however it ends."""

    def __init__(
        self,
        board: Board,
        view: Callable[[], dict[str, Any]],
        going_on: Callable[[], bool],
        give_back: Callable[[], None],
    ) -> None:
        self._board = board
        self._view = view
        self._going_on = going_on
        self._give_back = give_back
        self._events = self._run()

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        """Give the place back, once."""
        give_back, self._give_back = self._give_back, lambda: None
        give_back()

    def _run(self) -> Iterator[bytes]:
        change, last, quiet = -1, None, 0
        while self._going_on():
            change = self._board.wait_beyond(change, TURN_S)
            view = self._view()
            quiet += 1
            if view != last:
                last, quiet = view, 0
                yield b"event: view\ndata: " + json.dumps(view, ensure_ascii=False).encode() + b"\n\n"
            elif quiet >= ALIVE_TURNS:
                quiet = 0
                yield b"event: alive\ndata: \n\n"
