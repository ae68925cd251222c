"""A probe driven without its command: against the simulated platform over HTTP, or against a pure one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hmpt_support import APP_ID, SECRET, TICKET, config

from agent.clock import SystemClock
from agent.config.schema import Config
from agent.hmpt.asking import Asker
from agent.hmpt.likelihood import EITHER, Guess
from agent.hmpt.probing import Conclusion, Search, Try, Why
from agent.hmpt.readings import Reading, Stage
from agent.hmpt.signing import Identity
from agent.simulate.dialect import LIKELY, Dialect
from agent.simulate.platform import SimulatedPlatform

HEX_SECRET = "00112233445566778899aabbccddeeff"


@dataclass(frozen=True)
class Probed:
    """How a probe ended, and every step of it."""

    end: Conclusion
    steps: list[tuple[Try, Reading]]
    settings: Config

    @property
    def count(self) -> int:
        return len(self.steps)

    def found(self) -> Config:
        """Return the configuration with what was found put in, as a person would paste it."""
        assert self.end.cause is None, self.end
        return self.understood()

    def understood(self) -> Config:
        """Return the same of conventions that are of no use yet."""
        assert self.end.guess is not None
        assert self.end.reading is not None
        platform = self.settings.platform
        conventions = self.end.guess.conventions(platform.conventions)
        conventions = conventions.model_copy(update=dict(self.end.reading.settled))
        changed = platform.model_copy(update={"encrypt": self.end.guess.encrypt, "conventions": conventions})
        return self.settings.model_copy(update={"platform": changed})


def probe(
    platform: SimulatedPlatform,
    *,
    secret: str = SECRET,
    app_id: str = APP_ID,
    ticket: str = TICKET,
    encrypt: bool = True,
    limit: int = 40,
    correct_skew: bool = False,
    signed_before: bool = False,
    **conventions: Any,
) -> Probed:
    """Probe a platform over HTTP."""
    settings = config(platform.url, encrypt=encrypt, **conventions)
    if correct_skew:
        changed = settings.platform.model_copy(update={"correct_skew": True})
        settings = settings.model_copy(update={"platform": changed})
    who = Identity(app_id, secret.encode(), ticket)
    asker = Asker(settings, who, SystemClock(), signed_before=signed_before)
    try:
        end, steps = drive(asker.search(limit), asker.ask)
    finally:
        asker.close()
    return Probed(end, steps, settings)


def probe_dialect(
    dialect: Dialect = LIKELY, *, theirs: str = SECRET, ours: str | None = None, **options: Any
) -> Probed:
    """Probe a platform that speaks a dialect."""
    with SimulatedPlatform(theirs, APP_ID, TICKET, dialect=dialect) as platform:
        return probe(platform, secret=ours or theirs, **options)


def drive(search: Search, ask: Callable[[Try], Reading]) -> tuple[Conclusion, list[tuple[Try, Reading]]]:
    """Make a search's requests until it ends."""
    steps: list[tuple[Try, Reading]] = []
    while not isinstance(following := search.step(), Conclusion):
        reading = ask(following)
        steps.append((following, reading))
        search = search.after(following, reading)
    return following, steps


# --- a platform without HTTP, crypto or clock ---------------------------------------------------------

SIGNATURE = ("sign_encoding", "sign_key", "sign_template")
BODY = ("encrypt", "sm4_key", "cipher_encoding")


@dataclass(frozen=True)
class PurePlatform:
    """Understands one guess. `tells`: whether a refusal names what it is about, or all look alike."""

    truth: Guess
    tells: bool = True

    def answer(self, attempt: Try) -> Reading:
        """Return what it says, in a platform's usual order."""
        stage = self._refusal(attempt)
        if stage is None:
            return Reading(Stage.DONE, "200", mark="200")
        return (
            Reading(stage, stage.value, stage.value) if self.tells else Reading(Stage.REFUSED, "500", "500")
        )

    def _refusal(self, attempt: Try) -> Stage | None:
        guess, truth = attempt.guess, self.truth

        def differs(*names: str) -> bool:
            return any(getattr(guess, name) != getattr(truth, name) for name in names)

        checks = {
            Stage.TICKET: attempt.bearer or attempt.why is Why.BAD_TICKET,
            Stage.MEDIA: differs("content_type"),
            Stage.TIME: differs("time_format"),
            Stage.SIGNATURE: differs(*SIGNATURE) or attempt.why is Why.BAD_SIGNATURE,
            Stage.ID: differs("request_id"),
            Stage.CIPHER: self._unreadable(guess) or attempt.why is Why.BAD_BODY,
            Stage.FIELDS: differs("send_register_time"),
        }
        return next((stage for stage, wrong in checks.items() if wrong), None)

    def _unreadable(self, guess: Guess) -> bool:
        truth = self.truth
        if guess.encrypt != truth.encrypt:
            return True
        if not truth.encrypt:
            return guess.body_shape != truth.body_shape
        padded = guess.padding in {EITHER, truth.padding}
        return not padded or any(getattr(guess, name) != getattr(truth, name) for name in BODY)


def same(found: Guess, truth: Guess) -> bool:
    """Return whether two guesses make the same requests."""
    unused: dict[str, Any] = {"body_shape": "bare"}
    if not truth.encrypt:
        unused = dict.fromkeys(("sm4_key", "padding", "cipher_encoding"), "-")
    return replace(found, **unused) == replace(truth, **unused)
