"""Pictures from elsewhere - a kiosk's, a vendor's decoder's - are decoded in a process of their own.

Not in the daemon, where hostile bytes would meet the keys and OpenCV would stay for good; and not in the
vision process, where they would cost the desk an attempt. It is started when a picture comes and ends when
none came for a while: at rest there is none.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent import logs
from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import Clock
from agent.vision.protocol import BrokenStream, Decoder, Message
from agent.vision.spawning import program, spawned
from drivers.errors import PhotoError

log = logs.get(__name__)

#: From the question to the answer, waiting and starting included. The largest picture takes two seconds.
LIMIT_S = 20.0
#: Seconds of processor time after which it is the picture that takes so long, and not the machine.
WORK_S = 8.0
#: A picture that ends so many processes is at fault itself; one alone may have met a machine out of memory.
DEATHS = 2
#: Faults of ours, not of the picture: the same again may succeed.
PASSING = frozenset({"E2307", "E2308"})
#: A process that says no more has this long to end.
LEAVE_S = 1.0
#: On the board the same trouble stands once in this time: a kiosk that repeats must not push others off it.
TELL_EVERY_S = 60.0


class Pictures:
    """Asks the process, one picture at a time. Safe from any thread.

    Every question: PhotoError E1303 what is no picture, or ended or held up every process that looked at it;
    AgentError E2307 no answer in time, E2308 the process cannot be started - neither says anything of the
    picture, and the same question may be asked again.
    """

    def __init__(
        self,
        clock: Clock,
        board: Board | None = None,
        *,
        command: Sequence[str] = (),
        limit_s: float = LIMIT_S,
        work_s: float = WORK_S,
    ) -> None:
        self._clock, self._board = clock, board
        self._command = list(command) or program("agent.vision.picture_child")
        self._limit_s, self._work_s = limit_s, work_s
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._child: _Child | None = None
        self._told_at: dict[str, float] = {}

    def accepted(self, picture: bytes, bound: int) -> bytes:
        """Return `images.accepted`: a JPEG that may be sent. AgentError E2501 when it cannot fit as well."""
        return self._asked("accept", picture, bound=bound).blobs["picture"]

    def smaller(self, picture: bytes, factor: float) -> bytes:
        """Return `images.smaller`: a JPEG of about `factor` times as many bytes. AgentError E2501 as well."""
        return self._asked("shrink", picture, factor=factor).blobs["picture"]

    def encoded(self, picture: bytes, target: int, bound: int) -> bytes:
        """Return `images.encode` of a picture in any form. AgentError E2501 as well."""
        return self._asked("encode", picture, target=target, bound=bound).blobs["picture"]

    def one_colour(self, picture: bytes) -> bool:
        """Return whether a picture shows nothing; False where nobody could look, for the desk goes on."""
        try:
            return bool(self._asked("one_colour", picture).values["one_colour"])
        except AgentError:
            return False

    def close(self) -> None:
        """End the process; a question under way ends with E2308."""
        with self._lock:
            child = self._child
            self._closing.set()
        if child is not None:
            child.kill()
            with self._turn:  # whoever had asked it has heard by now
                child.ended()

    # --- the question -------------------------------------------------------------------------------

    def _asked(self, kind: str, picture: bytes, **values: float) -> Message:
        deadline = self._clock.monotonic() + self._limit_s
        if not self._turn.acquire(timeout=self._limit_s):
            raise self._told(AgentError("E2307", seconds=f"{self._limit_s:g}"))
        try:
            answer = self._persistently(Message(kind, values, {"picture": picture}), deadline)
        finally:
            self._turn.release()
        if answer.kind == "refused":
            code, facts = answer.values["code"], answer.values["facts"]
            raise PhotoError(code, **facts) if code == "E1303" else AgentError(code, **facts)
        return answer

    def _persistently(self, request: Message, deadline: float) -> Message:
        """Ask as many processes as it takes to know whether it is the picture's fault."""
        deaths = 0
        while deaths < DEATHS:
            child = self._running(deadline)
            with self._bounded(child, deadline) as late:
                answer = child.ask(request)
            if answer is not None:
                return answer
            self._refuse_late(late)
            # One that had waited for long enough went by itself, just now: that is nobody's death.
            deaths += child.ended() != 0
        self._say("W2307", count=deaths)
        raise PhotoError("E1303", reason=f"it ended the process that decoded it, {deaths} times")

    def _running(self, deadline: float) -> _Child:
        """Return a process that is ready to be asked."""
        child = self._child
        if child is not None and child.alive:
            return child
        if child is not None:
            child.ended()
        if self._closing.is_set():
            raise AgentError("E2308", reason="closing")
        try:
            child = _Child(self._command)
        except OSError as error:
            raise self._told(AgentError("E2308", reason=error.strerror)) from error
        with self._lock:
            self._child = child
            if self._closing.is_set():
                child.kill()
        with self._bounded(child, deadline) as late:
            answer = child.heard()
        if answer is None or answer.kind != "ready":
            self._refuse_late(late, started=False)
            reason = "closing" if self._closing.is_set() else f"it ended with status {child.ended()}"
            raise self._told(AgentError("E2308", reason=reason))
        return child

    @contextmanager
    def _bounded(self, child: _Child, deadline: float) -> Iterator[list[float]]:
        """Kill a process that does not answer in time; then the list holds the processor time it took."""
        late: list[float] = []
        before = child.worked_s()

        def give_up() -> None:
            late.append(child.worked_s() - before)
            child.kill()

        timer = threading.Timer(max(0.0, deadline - self._clock.monotonic()), give_up)
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()
            timer.join()

    def _refuse_late(self, late: Sequence[float], *, started: bool = True) -> None:
        if self._closing.is_set():
            raise AgentError("E2308", reason="closing")
        if late and started and late[0] >= self._work_s:
            raise PhotoError("E1303", reason=f"decoding it took more than {self._work_s:g} s")
        if late:
            raise self._told(AgentError("E2307", seconds=f"{self._limit_s:g}"))

    def _told(self, error: AgentError) -> AgentError:
        if not self._closing.is_set():
            self._say(error.code, **error.facts)
        return error

    def _say(self, code: str, **facts: object) -> None:
        """Tell journal and board; a command, which has no board, tells its errors itself."""
        if self._board is None:
            return
        logs.say(log, code, **facts)
        now = self._clock.monotonic()
        with self._lock:
            due = now - self._told_at.get(code, -TELL_EVERY_S) >= TELL_EVERY_S
            if due:
                self._told_at[code] = now
        if due:
            self._board.event(code, **facts)


class _Child:
    """One process, from its start to its end. OSError when it cannot be started."""

    def __init__(self, command: list[str]) -> None:
        self._process = spawned(command)
        self._decoder = Decoder()
        # Taken from the list of processes as soon as it ends, not when the next picture comes.
        threading.Thread(target=self._process.wait, name="pictures", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Message) -> Message | None:
        """Return the answer, None when the process ended or answered nonsense."""
        stream = self._process.stdin
        # One that is gone shows in its output's end.
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.write(request.encoded())
                stream.flush()
        return self.heard()

    def heard(self) -> Message | None:
        """Return the next message, None when there is none any more."""
        stream = self._process.stdout
        if stream is None:
            return None
        try:
            while data := stream.read1(1 << 20):  # type: ignore[attr-defined]  # a pipe of Popen is buffered
                for message in self._decoder.feed(data):
                    return message
        except BrokenStream:
            self.kill()
        return None

    def ended(self) -> int:
        """Wait for its end and return the status; 0 is its own will."""
        try:
            status = self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:  # it fell silent and stays
            self.kill()
            status = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            # What was not written any more is thrown away.
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        return status

    def worked_s(self) -> float:
        """Return the processor time that it has taken, 0.0 for one that is gone."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End it; harmless for one that has ended."""
        self._process.kill()
