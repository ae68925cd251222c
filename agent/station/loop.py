"""The loop at the desk: watches the reader, carries out what the flow decides, keeps what was verified.

Nothing here waits for the network, nor for the camera: a look runs beside the loop, which goes on watching
the reader and listening to the registrar. Until the outbox says that a record is durable nothing of the card
is kept but the sealed mark of an opened attempt; after it, the record no longer needs this loop.
"""

from __future__ import annotations

import queue
import threading
import uuid

from agent import logs
from agent.clock import SHANGHAI
from agent.followups import FollowUps
from agent.heartbeat import Heartbeat
from agent.station import events, flow
from agent.station import watch as watching
from agent.station.memory import ReaderMemory
from agent.station.notices import notices
from agent.station.work import Parts, Work
from drivers.card import CardRecord
from drivers.errors import CodedError

log = logs.get(__name__)

#: The longest rest between two looks at what became of the attempt, the announcement, the stop.
REST_S = 0.5
#: How long a look that was told to stop is waited for when the loop ends; it then ends by itself.
LEAVE_S = 2.0


class Station:
    """Drives `flow` with a real reader, camera and outbox. One thread, and one more during a look."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._work = Work(parts)
        self._followups = FollowUps(parts.outbox, parts.audit)
        self._desk = flow.Desk()
        self._watch = self._fresh_watch()
        self._events: queue.Queue[events.DeskEvent] = queue.Queue()
        self._looking: threading.Thread | None = None
        self._stop = threading.Event()
        self._told: str | None = None
        self._cut_off = False
        self._full = False

    def tell(self, word: events.DeskInput) -> None:
        """Say what a person at the desk decided. Safe from any thread; what is too late changes nothing."""
        self._events.put(word)

    def run(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Serve the desk until `stop` is set.

        An attempt amid which it is set keeps its mark: the woman is asked again.
        """
        self._stop = stop
        self._start_afresh()
        try:
            while not stop.is_set():
                heartbeat.beat()
                event = self._turn()
                if event is not None and not stop.is_set():
                    self._handle(event)
        finally:
            self._watch.close()
            self._leave()

    def _start_afresh(self) -> None:
        """Forget an attempt that an earlier run of this loop died over: the woman is asked again."""
        attempt = self._desk.attempt
        self._cut_off = bool(attempt)
        if attempt:
            self._work.noted(lambda: self._parts.outbox.close_attempt(attempt))
        self._leave()
        self._desk = flow.Desk()
        self._watch = self._fresh_watch()

    def _leave(self) -> None:
        """End the look under way; what it still brings belongs to nobody."""
        if self._looking is not None:
            self._parts.vision.stop()
            self._looking.join(LEAVE_S)
            self._looking = None

    def _fresh_watch(self) -> watching.ReaderWatch:
        parts = self._parts
        return watching.ReaderWatch(
            watching.Means(
                open_reader=parts.open_reader,
                memory=ReaderMemory(parts.outbox, parts.audit, parts.pseudonyms, parts.clock),
                monotonic=parts.clock.monotonic,
                interval_s=lambda: parts.config().reader.poll_interval_s,
                may_read=self._room,
                loan=parts.loan,
            )
        )

    def _turn(self) -> events.DeskEvent | None:
        """Look what became of reader and card, then rest until the next look. Return what was said then."""
        if self._parts.loan.offer(idle=self._desk.phase in {flow.Phase.READY, flow.Phase.READER_DOWN}):
            logs.say(log, "I1006")
            self._parts.board.event("I1006")
        for happening in self._watch.turn():
            self._take(happening)
        self._handle(events.TimePassed(self._watch.lying))
        if self._desk.phase is flow.Phase.LOOKING and self._desk.ending is not None:
            # Said while the photo was still being decoded, there was nothing to stop yet.
            self._parts.vision.stop()
        rest = min(self._watch.wait_s, REST_S)
        try:
            return self._events.get(timeout=rest) if rest > 0 else self._events.get_nowait()
        except queue.Empty:
            return None

    def _take(self, happening: watching.Happening) -> None:
        match happening:
            case watching.Up(sam_id):
                self._reader_up(sam_id)
            case watching.Down(error):
                self._reader_down(error)
            case watching.Presented(card, at):
                self._work.noted(self._parts.outbox.clear_interrupted)
                self._cut_off = False
                self._handle(events.CardRead(self._presented(card, at)))
            case watching.NotAgain(code, card, at):
                logs.say(log, code)
                self._parts.board.event(code)
                self._handle(events.CardAgain(self._presented(card, at), code))
            case watching.Unreadable(error):
                logs.say_error(log, error)
                self._parts.board.event(error.code, **error.facts)
                self._handle(events.CardUnreadable(error.code))
            case watching.Lifted():
                self._handle(events.CardLifted())
            case watching.Lent():
                pass  # read for somebody who tests the reader

    def _presented(self, card: CardRecord, at: float) -> events.Presented:
        today = self._parts.clock.now().astimezone(SHANGHAI).date()
        return events.Presented(uuid.uuid4().hex, card, at, notices(card, today))

    def _reader_up(self, sam_id: str) -> None:
        self._told = None
        logs.say(log, "I1003", port=self._parts.config().reader.port)
        self._parts.board.post("reader", state="ok", sam_id=sam_id)
        interrupted = self._cut_off or bool(self._parts.outbox.interrupted())
        self._handle(events.ReaderUp(interrupted))

    def _reader_down(self, error: CodedError) -> None:
        # The same fault of the same reader is told once, not once a second.
        if self._told != error.code:
            self._told = error.code
            logs.say_error(log, error)
            self._parts.board.event(error.code, **error.facts)
        self._parts.board.post("reader", state="down", code=error.code, facts=dict(error.facts))
        self._handle(events.ReaderLost(error.code))

    def _room(self) -> bool:
        """Return whether a record would be kept; if not, say so before a woman is asked to look up."""
        try:
            self._parts.outbox.accepting()
        except CodedError as error:
            if not self._full:
                logs.say_error(log, error)
                self._parts.board.event(error.code, **error.facts)
            self._full = True
            self._handle(events.CardUnreadable(error.code))
            return False
        self._full = False
        return True

    # --- effects ------------------------------------------------------------------------------------

    def _handle(self, event: events.DeskEvent) -> None:
        """Advance the flow, carry out its effects, and feed back what they bring, until nothing is left."""
        pending, before = [event], self._desk
        while pending:
            now = self._parts.clock.monotonic()
            self._desk, effects = flow.advance(self._desk, pending.pop(0), now)
            for effect in effects:
                answer = self._perform(effect)
                if answer is not None:
                    pending.append(answer)
        if self._desk != before:
            self._post()
        if before.phase is flow.Phase.LOOKING and self._desk.phase is not flow.Phase.LOOKING:
            self._parts.board.post("hint", reason="", code="")

    def _post(self) -> None:
        """Show where the desk stands: what the page's buttons and its preview go by."""
        desk, current = self._desk, self._desk.current
        self._parts.board.post(
            "desk",
            state=desk.phase.name.lower(),
            attempt=desk.attempt,
            notices=[] if current is None else list(current.notices),
            preview=desk.phase is flow.Phase.LOOKING,
            waiting=desk.waiting is not None,
        )

    def _perform(self, effect: events.Effect) -> events.DeskEvent | None:
        parts = self._parts
        match effect:
            case events.Show(light, code):
                parts.board.post("screen", state=light.value, code=code)
            case events.OpenAttempt(attempt):
                self._work.noted(lambda: parts.outbox.open_attempt(attempt))
            case events.CloseAttempt(attempt):
                self._work.noted(lambda: parts.outbox.close_attempt(attempt))
            case events.Look(presented, since):
                self._look(presented, since)
            case events.StopLooking():
                parts.vision.stop()
            case events.Keep(presented, observation):
                answer = self._work.keep(presented, observation)
                if isinstance(answer, events.Kept):
                    self._watch.kept(presented.card)
                return answer
            case events.FollowUp(presented, reason):
                self._work.noted(lambda: self._followups.add(presented.attempt, presented.card, reason))
            case events.Note(what, attempt, who):
                self._work.noted(lambda: parts.audit.append(what, who=who, target=attempt, durable=True))
                parts.board.event("I1005", attempt=attempt, what=what)
        return None

    def _look(self, presented: events.Presented, since: float) -> None:
        """Let a look run beside the loop; what it brings comes back as an event."""

        def look() -> None:
            try:
                answer = self._work.look(presented, since)
            except CodedError as error:
                if not self._stop.is_set():
                    logs.say_error(log, error, attempt=presented.attempt)
                answer = events.LookFailed(presented.attempt, error.code)
            except Exception as error:
                # The edge of a thread: without an answer the desk would wait for this look for ever.
                logs.say(log, "E2306", cause=type(error).__name__)
                log.debug("look", exc_info=error)
                answer = events.LookFailed(presented.attempt, "E2306")
            self._events.put(answer)

        self._leave()
        self._looking = threading.Thread(target=look, name="look", daemon=True)
        self._looking.start()
