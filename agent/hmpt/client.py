"""One request, one outcome: sign now, send over `agent.hmpt.transport`, judge the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

import tenacity

from agent.catalogue import AgentError
from agent.clock import Clock
from agent.config.schema import Config, Conventions, Device
from agent.hmpt import answers, checks, cipher, render
from agent.hmpt.answers import Exchange, Sent, Terms
from agent.hmpt.body import Body, hashed
from agent.hmpt.checks import Problem
from agent.hmpt.conventions import MAX_SKEW_S, fingerprint, request_id, sm4_key, time_text
from agent.hmpt.signing import Authenticity, Identity, headers
from agent.hmpt.transport import Answer, Line
from agent.records import Delivered, Outcome, PictureKind, PlatformDown, Refused, Unknown, Verification

REGISTER = "/machine/info"
VERIFY = "/verification/pregnant_woman/first"

#: Fields of table 4.2 that name a person.
PERSONAL = ("realName", "cardNo", "address", "birthday", "operationUser")
#: Quick second try within one claim, for a connection that was refused while a server restarted.
CONNECT_TRIES = 2
CONNECT_PAUSE_S = 0.5
#: A body up to this is made once and kept until it is sent; a larger one is made again as it goes out.
HELD_BYTES = 2 * 2**20


@dataclass(frozen=True)
class Prepared:
    """One request, ready but for time and signature. `sm3_hex` and `length` are of the bytes on the wire."""

    path: str
    request_id: str
    conventions: Conventions
    conventions_fingerprint: str
    body: Body = field(repr=False)
    sm3_hex: str
    personal: tuple[str, ...] = field(default=(), repr=False)  # what an answer may echo and we must not keep

    @property
    def length(self) -> int:
        """Return the number of bytes on the wire."""
        return self.body.length


class SignedAnswers(Protocol):
    """The memory of whether this platform signs its answers; it outlives the process."""

    def seen(self) -> bool:
        """Return whether an answer of this platform was ever signed rightly."""
        ...

    def saw(self) -> None:
        """Remember that one was."""
        ...


class Unremembered:
    """A memory that ends with its client: for probing and tests."""

    def __init__(self) -> None:
        self._seen = False

    def seen(self) -> bool:
        return self._seen

    def saw(self) -> None:
        self._seen = True


class PlatformClient:
    """Speaks to one platform as one organisation. One request at a time.

    `skew_s`: by how many seconds the platform's clock was ahead of ours at the last answer that said so;
    None before the first. `on_time` hears of it where the answer is the platform's own beyond doubt.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        identity: Identity,
        clock: Clock,
        signed_answers: SignedAnswers | None = None,
        on_time: Callable[[float], None] = lambda _skew_s: None,
    ) -> None:
        self._config = config
        self._identity = identity
        self._clock = clock
        self._signed_answers = signed_answers or Unremembered()
        self._on_time = on_time
        self._line = Line(lambda: config().platform, clock)
        self.skew_s: float | None = None

    def problems(
        self, verification: Verification, pictures: Mapping[PictureKind, bytes], conventions: Conventions
    ) -> list[Problem]:
        """Return every field that the platform would refuse."""
        return checks.problems(verification, pictures, conventions, self._config().images.max_base64_chars)

    def prepare(
        self, verification: Verification, pictures: Mapping[PictureKind, bytes], conventions: Conventions
    ) -> Prepared:
        """Return the request for one record, rendered, encrypted and hashed, not yet signed."""
        plain = render.render(verification, pictures, conventions)
        prepared = self._prepared(VERIFY, request_id(conventions, verification.id), plain, conventions)
        texts = render.texts(verification, conventions)
        personal = tuple(texts[name] for name in PERSONAL if texts[name])
        return replace(prepared, personal=personal)

    def register(
        self, device: Device, record: str, stop: threading.Event | None = None, *, status: int = 0
    ) -> Outcome:
        """Register the device; "already added" counts as done. `record` is the base of the request id.

        `status` of table 4.1: 0 enabled, 1 disabled.
        """
        conventions = self._config().platform.conventions
        plain = render.machine_info(device, conventions, self._clock.now(), status)
        prepared = self._prepared(REGISTER, request_id(conventions, record), plain, conventions)
        return self.send(prepared, stop)

    def send(self, prepared: Prepared, stop: threading.Event | None = None) -> Outcome:
        """Send one request and return what became of it. Never raises for what a network can do."""
        stop = stop or threading.Event()
        attempt = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(CONNECT_TRIES),
            wait=tenacity.wait_fixed(CONNECT_PAUSE_S),
            retry=tenacity.retry_if_result(_not_connected),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
            sleep=lambda seconds: _pause(stop, seconds),
        )
        outcome: Outcome = attempt(self._once, prepared, stop)
        return outcome

    def ask_time(self, stop: threading.Event | None = None) -> PlatformDown | None:
        """Ask what time it is there: a GET without any header of ours. Return why nothing was heard.

        For a clock that nobody has confirmed, when there is nothing to send. `on_time` hears the answer.
        """
        answer = self._asked(stop or threading.Event())
        return answer if isinstance(answer, PlatformDown) else None

    def knock(self, stop: threading.Event) -> PlatformDown | Unknown | None:
        """Ask, by the same GET, whether the way to the platform is open. Return why it is not."""
        answer = self._asked(stop)
        return answers.in_the_way(answer, self._clock.now()) if isinstance(answer, Exchange) else answer

    def _asked(self, stop: threading.Event) -> Answer:
        answer = self._line.get(stop)
        if isinstance(answer, Exchange):
            skew_s = answers.date_skew_s(answer, self._clock.now())
            # A redirect is a login page's: whose clock that is nobody knows.
            if skew_s is not None and not 300 <= answer.status < 400:
                self.skew_s = skew_s
                self._on_time(skew_s)
        return answer

    def close(self) -> None:
        """Give the connections back."""
        self._line.close()

    # --- one request --------------------------------------------------------------------------------

    def _prepared(self, path: str, request: str, plain: Body, conventions: Conventions) -> Prepared:
        key = self._cipher_key(conventions)
        body = render.shaped(plain, conventions) if key is None else cipher.encrypted(plain, key, conventions)
        mark = fingerprint(conventions, encrypt=key is not None)
        body, sm3_hex = hashed(body, HELD_BYTES)
        return Prepared(path, request, conventions, mark, body, sm3_hex)

    def _cipher_key(self, conventions: Conventions) -> bytes | None:
        return sm4_key(conventions, self._identity.secret) if self._config().platform.encrypt else None

    def _once(self, prepared: Prepared, stop: threading.Event) -> Outcome:
        time = time_text(prepared.conventions, self._signing_time())
        made = headers(prepared.conventions, self._identity, prepared.request_id, time)
        answer = self._line.post(prepared.path, made, prepared.body, stop)
        if not isinstance(answer, Exchange):
            return answer
        return answers.without(prepared.personal, self._meaning(prepared, time, answer))

    def _meaning(self, prepared: Prepared, time: str, exchange: Exchange) -> Outcome:
        """Return what an answer means, and remember what it shows of the platform's clock and habits."""
        sent = Sent(prepared.request_id, time, registers=prepared.path == REGISTER)
        now = self._clock.now()
        terms = Terms(
            prepared.conventions,
            self._identity,
            self._answer_key(prepared.conventions),
            self._signed_answers.seen(),
        )
        outcome = answers.judge(exchange, sent, terms, now)
        skew_s = answers.skew_s(exchange, terms, now)
        if skew_s is not None:
            self.skew_s = skew_s
            if isinstance(outcome, Delivered) or (
                isinstance(outcome, Refused) and outcome.platform_code[:4] != "HTTP"
            ):
                self._on_time(skew_s)
        if answers.authenticity(exchange, sent, terms) is Authenticity.RIGHT:
            self._signed_answers.saw()
        return outcome

    def _answer_key(self, conventions: Conventions) -> bytes | None:
        """Return the key for an encrypted answer: it may be so even where requests go plain (P20)."""
        try:
            return sm4_key(conventions, self._identity.secret)
        except AgentError:
            return None

    def _signing_time(self) -> datetime:
        """Return our time, or the platform's where that is wanted and ours is not far off (P5)."""
        now, skew_s = self._clock.now(), self.skew_s
        if self._config().platform.correct_skew and skew_s is not None and abs(skew_s) < MAX_SKEW_S:
            return now + timedelta(seconds=skew_s)
        return now


def _pause(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)


def _not_connected(outcome: Outcome) -> bool:
    return isinstance(outcome, PlatformDown) and outcome.code == "E4101"
