"""Long-lived loops, one thread each: started, watched by their heartbeats, restarted when they die.

A loop that ends with an exception is told once with its traceback, restarted after a growing pause, and
stays visible on the board; it is never silently gone. A loop that hangs cannot be restarted from inside:
the supervisor then stops feeding the watchdog, and systemd restarts the whole process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent import logs
from agent.board import Board
from agent.clock import Clock
from agent.heartbeat import Heartbeat

log = logs.get(__name__)

Work = Callable[[Heartbeat, threading.Event], None]

#: Pauses before a dead loop is started again; the last one repeats.
RESTART_PAUSES_S = (1.0, 2.0, 5.0, 15.0, 60.0)
#: A loop that has lived this long starts again from the shortest pause.
HEALTHY_S = 300.0


@dataclass(frozen=True)
class LoopState:
    """What `status` and /healthz say of one loop."""

    name: str
    alive: bool
    late_s: float
    restarts: int


class Loop:
    """One thread doing `work`, again and again should it die."""

    def __init__(self, name: str, work: Work, clock: Clock, board: Board) -> None:
        self.name = name
        self.heartbeat = Heartbeat(name, clock)
        self.restarts = 0
        self._work = work
        self._clock = clock
        self._board = board
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Tell the loop to come to its end; does not wait."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end. Return whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def state(self) -> LoopState:
        """Return how the loop is."""
        return LoopState(self.name, self._thread.is_alive(), self.heartbeat.late_s(), self.restarts)

    def _run(self) -> None:
        pauses = 0
        while not self._stop.is_set():
            started = self._clock.monotonic()
            self.heartbeat.beat()
            try:
                self._work(self.heartbeat, self._stop)
                return
            except Exception as error:  # noqa: BLE001 -- the edge of a thread: told, counted, restarted
                self._died(error)
            if self._clock.monotonic() - started > HEALTHY_S:
                pauses = 0
            pause = RESTART_PAUSES_S[min(pauses, len(RESTART_PAUSES_S) - 1)]
            pauses += 1
            with self.heartbeat.silence(pause):
                self._stop.wait(pause)

    def _died(self, error: Exception) -> None:
        self.restarts += 1
        code = getattr(error, "code", "") or type(error).__name__
        logs.say(log, "E8101", loop=self.name, cause=code, restarts=self.restarts)
        log.debug("loop %s", self.name, exc_info=error)
        self._board.event("E8101", loop=self.name, cause=code, restarts=self.restarts)


class Supervisor:
    """All loops of the process."""

    def __init__(self, loops: Sequence[Loop]) -> None:
        self._loops = list(loops)

    def start(self) -> None:
        """Start every loop."""
        for loop in self._loops:
            loop.start()

    def states(self) -> list[LoopState]:
        """Return how every loop is."""
        return [loop.state() for loop in self._loops]

    def healthy(self) -> bool:
        """Return whether every loop beats in time: only then may the watchdog be fed."""
        return all(state.alive and state.late_s == 0.0 for state in self.states())

    def ask_to_stop(self) -> None:
        """Ask all loops to stop, and do not wait."""
        for loop in self._loops:
            loop.ask_to_stop()

    def stop(self, clock: Clock, within_s: float) -> list[str]:
        """Ask all loops to stop and wait. Return the names of those that did not come to an end."""
        deadline = clock.monotonic() + within_s
        self.ask_to_stop()
        return [loop.name for loop in self._loops if not loop.join(max(0.0, deadline - clock.monotonic()))]
