"""One request of a probe: /machine/info in the conventions of a guess, or spoilt on purpose."""

from __future__ import annotations

import base64
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from agent.clock import Clock
from agent.config.schema import Config, Conventions
from agent.hmpt import cipher, render
from agent.hmpt.answers import Exchange, Sent
from agent.hmpt.body import Body, of_pieces
from agent.hmpt.conventions import request_id, sm4_key, time_text
from agent.hmpt.likelihood import EITHER, Guess, Space, space
from agent.hmpt.probing import Search, Try, Why
from agent.hmpt.readings import Reader, Reading, Stage
from agent.hmpt.signing import SIGN, Identity, headers
from agent.hmpt.transport import Line
from agent.records import PlatformDown

PATH = "/machine/info"
BEARER = "Bearer "
MAC_BYTES = 32
BLOCK = 16
#: Bytes of PKCS#7 that JSON takes for white space - tabs, line feeds, returns - if they are not removed.
BLANK = (9, 10, 13)


@dataclass(frozen=True)
class Request:
    """One request as it goes out; ticket and signature stand in `headers`."""

    headers: Mapping[str, str] = field(repr=False)
    body: Body = field(repr=False)
    plain_length: int
    request_id: str
    time: str


class Asker:
    """Makes and sends a probe's requests. `stop` ends a request under way."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        clock: Clock,
        status: int = render.ENABLED,
        *,
        signed_before: bool = False,
    ) -> None:
        self._config, self._identity, self._clock = config, identity, clock
        self.status = status  # of the device, table 4.1
        self.signed_before = signed_before  # an answer of this platform was signed rightly, now or long ago
        platform = config.platform
        self.configured = Guess.configured(platform.conventions, encrypt=platform.encrypt)
        self.space: Space = space(self.configured, identity.secret)
        self._reader = Reader.of(identity, self.space, platform.conventions, clock.now)
        self._line = Line(lambda: platform, clock)

    def search(self, limit: int) -> Search:
        """Return a search that has asked nothing yet."""
        return Search.start(
            self.space, self.configured, correct_skew=self._config.platform.correct_skew, limit=limit
        )

    def ask(self, attempt: Try, stop: threading.Event | None = None) -> Reading:
        """Send one request and read its answer. Never raises for what a network can do."""
        request = self.request(attempt)
        answer = self._line.post(PATH, request.headers, request.body, stop or threading.Event())
        if isinstance(answer, Exchange):
            sent = Sent(request.request_id, request.time)
            reading = self._reader.read(answer, sent, attempt.guess, signed_before=self.signed_before)
            if reading.signed is not None and reading.signed.keys:
                self.signed_before = True
            return reading
        stage = Stage.NETWORK if isinstance(answer, PlatformDown) else Stage.SILENCE
        return Reading(stage, answer.detail, mark=answer.code, code=answer.code)

    def request(self, attempt: Try) -> Request:
        """Return the request, signed now."""
        conventions = attempt.guess.conventions(self._config.platform.conventions)
        now = self._clock.now() + timedelta(seconds=attempt.clock_s)
        time, ours = time_text(conventions, now), request_id(conventions, uuid.uuid4().hex)
        plain = render.machine_info(self._config.device, conventions, now, self.status)
        made = headers(conventions, self._identity, ours, time)
        if attempt.why is Why.BAD_SIGNATURE:
            made[SIGN] = _TEXTS[conventions.sign_encoding](os.urandom(MAC_BYTES))
        made["Authorization"] = self._ticket(attempt)
        body = self._body(plain, attempt, conventions)
        return Request(made, body, plain.length, ours, time)

    def close(self) -> None:
        """Give the connections back."""
        self._line.close()

    def _ticket(self, attempt: Try) -> str:
        ticket = self._identity.authorization
        if attempt.why is Why.BAD_TICKET:
            return "probe-" + os.urandom(8).hex()
        if not attempt.bearer:
            return ticket
        return ticket.removeprefix(BEARER) if ticket.startswith(BEARER) else BEARER + ticket

    def _body(self, plain: Body, attempt: Try, conventions: Conventions) -> Body:
        bad = attempt.why is Why.BAD_BODY
        if not attempt.guess.encrypt:
            return of_pieces([b"{"]) if bad else render.shaped(plain, conventions)
        if bad:
            # Ciphertext of the right form that no key turns into JSON.
            text = _TEXTS[conventions.cipher_encoding](os.urandom(4 * BLOCK))
            return of_pieces([b'{"data":"', text.encode(), b'"}'])
        blanks = _blanks(plain.length, either=attempt.guess.padding == EITHER)
        spaced = of_pieces([plain, b" " * blanks])
        return cipher.encrypted(spaced, sm4_key(conventions, self._identity.secret), conventions)


def _blanks(length: int, *, either: bool) -> int:
    """Return how many blanks behind a body make its PKCS#7 readable to whoever strips zeros, or never so."""
    return next(more for more in range(BLOCK) if ((BLOCK - (length + more) % BLOCK) in BLANK) is either)


_TEXTS: Mapping[str, Callable[[bytes], str]] = {
    "hex": lambda raw: raw.hex(),
    "HEX": lambda raw: raw.hex().upper(),
    "base64": lambda raw: base64.b64encode(raw).decode(),
}
