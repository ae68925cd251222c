"""The way to the platform as it stands: what stops it and until when, what its answers proved, who was told.

Breaker and judgement are pure; here they are in force, kept beside the records at each change, and shown.
"""

from __future__ import annotations

import threading
from datetime import datetime

from agent import inservice, logs
from agent.records import Verification
from agent.uploader import memory
from agent.uploader.breaker import WAY, Breaker
from agent.uploader.judgement import Case, Judgement
from agent.uploader.making import device_name
from agent.uploader.parts import Parts
from agent.uploader.registration import registered
from agent.uploader.timekeeping import Timekeeping

log = logs.get(__name__)


class Lane:
    """For one thread. One lane for all records, and a breaker for each device other than this kiosk's."""

    def __init__(self, parts: Parts, times: Timekeeping) -> None:
        self._parts, self._times = parts, times
        config, outbox = parts.config(), parts.outbox
        self._breaker = Breaker.from_json(outbox.setting(memory.breaker_name(config)))
        self._judgement = Judgement.from_json(outbox.setting(memory.judgement_name(config)))
        self._devices: dict[str, Breaker] = {}
        self._resting = False

    # --- how it stands ------------------------------------------------------------------------------

    @property
    def judgement(self) -> Judgement:
        """Return what is known of the platform's answers."""
        return self._judgement

    def wait_s(self, now: datetime) -> float:
        """Return the seconds until anything may be sent."""
        return self._breaker.wait_s(now)

    def waits_until(self, verification: Verification, now: datetime) -> datetime | None:
        """Return until when a record's device waits, None when it does not."""
        waiting = self._devices.get(device_name(verification))
        return None if waiting is None or waiting.wait_s(now) <= 0 else waiting.open_until

    # --- what happened ------------------------------------------------------------------------------

    def succeeded(self) -> None:
        """The platform took something: whatever waits may go."""
        self._put(self._breaker.succeeded())

    def accepted(self, case: Case, mark: str) -> None:
        """The platform took a record under the conventions `mark`."""
        self.remember(self._judgement.accepted(case, mark))
        self._devices.pop(case.device, None)
        self.succeeded()

    def failed(self, code: str, retry_after_s: float | None, detail: str, **facts: str) -> None:
        """The platform, or our way to it, failed as a whole. It is told once until it is another fault."""
        told_before = self._breaker.code == code
        self._put(self._breaker.failed(self._now(), code, retry_after_s, self._parts.rng))
        if not told_before:
            self.tell(code, detail=detail, **facts)

    def lost(self, code: str, *, first: bool) -> None:
        """An answer was lost, which stops the lane at once only under conventions that took no record yet."""
        now, rng, breaker = self._now(), self._parts.rng, self._breaker
        self._put(breaker.failed(now, code, None, rng) if first else breaker.unknown(now, code, rng))

    def device_failed(self, case: Case, code: str, detail: str) -> None:
        """Let a device that is not this one wait, and its records with it; ours are not held up by it."""
        before = self._devices.get(case.device, Breaker())
        self._devices[case.device] = before.failed(self._now(), code, None, self._parts.rng)
        if before.closed:
            self.tell(code, detail=detail, device=case.device, record=case.record)

    def nothing_to_send(self, stop: threading.Event) -> None:
        """See whether the fault is over although no record is there to show it.

        Whether the way is open can be asked without one. What only a record could show is no alarm while none
        waits: nobody can tell whether it lasts.
        """
        if self._breaker.closed or self._resting or self._parts.outbox.counts().ready:
            return
        if self._breaker.code not in WAY:
            self._resting = True
            self.post()
            return
        fault = self._parts.client.knock(stop)
        if fault is None:
            self.succeeded()
        elif not stop.is_set():
            self.failed(fault.code, getattr(fault, "retry_after_s", None), fault.detail)

    def start_afresh(self) -> None:
        """The configuration changed: what failed under the old one says nothing of the new one."""
        self._devices.clear()
        self.remember(self._judgement.forgiven())
        self._put(Breaker())

    def remember(self, judgement: Judgement) -> None:
        """Keep what was learned from an answer."""
        if judgement != self._judgement:
            self._judgement = judgement
            self._parts.outbox.set_setting(memory.judgement_name(self._parts.config()), judgement.to_json())

    def _put(self, breaker: Breaker) -> None:
        if breaker != self._breaker:
            self._breaker, self._resting = breaker, False
            self._parts.outbox.set_setting(memory.breaker_name(self._parts.config()), breaker.to_json())
            self.post()

    def _now(self) -> datetime:
        return self._parts.clock.now()

    # --- who hears of it ----------------------------------------------------------------------------

    def tell(self, code: str, **facts: str) -> None:
        """Tell log and board, and remember the facts for a daemon that starts while it still lasts."""
        logs.say(log, code, **facts)
        self._parts.board.event(code, **facts)
        memory.keep_told(self._parts.outbox, self._parts.config(), code, facts)

    def tell_what_lasts(self) -> None:
        """Say again why the lane waited when the daemon stopped, and whether records may not count at all."""
        parts, config = self._parts, self._parts.config()
        if code := self._breaker.code:
            parts.board.event(code, **memory.last_told(parts.outbox, config, code))
        device_no = config.device.device_no
        if inservice.out_of_service(parts.outbox, config.device) is not None:
            self.tell(inservice.CODE, device=device_no)
        elif config.platform.register_ == "never" and registered(parts.outbox, config) is None:
            self.tell("W5112", device=device_no)

    def post(self) -> None:
        """Show on the board how the lane stands."""
        config, skew_s = self._parts.config(), self._parts.client.skew_s
        breaker, resting = self._breaker, self._resting and not self._times.code
        until, failed_at = breaker.open_until, breaker.failed_at
        working = "idle" if resting else "ok" if breaker.closed and not self._times.code else "waiting"
        self._parts.board.post(
            "platform",
            state=working,
            code=self._times.code or ("" if resting else breaker.code),
            next_try=until.isoformat() if until and not resting else None,
            failed_at=failed_at.isoformat() if failed_at and resting else None,
            failed_with=breaker.code if resting else None,
            registered=registered(self._parts.outbox, config) is not None,
            proven=not self._judgement.commissioning(memory.mark(config)),
            skew_s=None if skew_s is None else round(skew_s, 1) + 0.0,
            devices=sorted(self._devices),
        )
