"""One line to one platform: a request's bytes out, the answer as it came - or what the network did - back.

No redirects, no proxy from the environment, certificates verified, urllib3's own retries off. A request
runs in a thread of its own, because a stop must not wait for an answer: after LEAVE_S it is left, and
what it sent counts as *answer unknown*.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet

import requests
from requests.adapters import HTTPAdapter

from agent.clock import Clock
from agent.config.schema import Platform
from agent.hmpt.answers import Exchange
from agent.hmpt.body import Body, gathered
from agent.records import PlatformDown, Unknown

#: A stop leaves a request under way after this.
LEAVE_S = 3.0
POLL_S = 0.1
#: An answer has some two hundred bytes; a proxy's page some tens of thousands.
MAX_ANSWER = 2**20
#: Bytes handed to the socket at a time, at the least.
SEND_BYTES = 2**14

Answer = Exchange | PlatformDown | Unknown


class Line:
    """Speaks HTTP to one platform. One request at a time."""

    def __init__(self, platform: Callable[[], Platform], clock: Clock) -> None:
        self._platform = platform
        self._clock = clock
        self._session = self._new_session()

    def post(self, path: str, headers: Mapping[str, str], body: Body, stop: threading.Event) -> Answer:
        """Send one request and return its answer. Never raises for what a network can do."""
        return self._in_time(lambda: self._posted(path, headers, body), stop)

    def get(self, stop: threading.Event) -> Answer:
        """Ask for the base address without any header of ours; the answer's body is not read."""
        return self._in_time(self._got, stop)

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def _in_time(self, work: Callable[[], Answer], stop: threading.Event) -> Answer:
        """Return what `work` returns. When that takes too long it is left, and so is its session."""
        limits = self._platform()
        answer: Future[Answer] = Future()
        threading.Thread(target=_fulfil, args=(answer, work), name="send", daemon=True).start()
        deadline = self._clock.monotonic() + limits.connect_timeout_s + limits.answer_timeout_s
        while (now := self._clock.monotonic()) < deadline:
            if stop.is_set():
                deadline = min(deadline, now + LEAVE_S)
                stop = threading.Event()
            try:
                return answer.result(POLL_S)
            except NotYet:
                continue
        # Whatever that thread still does, it does with the old session.
        self._session = self._new_session()
        return Unknown("E4106", "no answer in time")

    def _posted(self, path: str, headers: Mapping[str, str], body: Body) -> Answer:
        platform, streamed = self._platform(), _Streamed(body)
        try:
            response = self._session.post(
                platform.base_url.rstrip("/") + path,
                data=streamed,
                headers=headers,
                timeout=(platform.connect_timeout_s, platform.answer_timeout_s),
                allow_redirects=False,
                stream=True,
            )
            with response:
                content = _bounded(response)
        except requests.RequestException as error:
            return _network(error, sent=streamed.sent)
        if content is None:
            return Unknown("E5008", f"more than {MAX_ANSWER} bytes")
        return Exchange(response.status_code, _names(response), content)

    def _got(self) -> Answer:
        platform = self._platform()
        timeout = (platform.connect_timeout_s, platform.answer_timeout_s)
        try:
            with self._session.get(
                platform.base_url, timeout=timeout, allow_redirects=False, stream=True
            ) as response:
                return Exchange(response.status_code, _names(response), b"")
        except requests.RequestException as error:
            return _network(error, sent=False)

    def _new_session(self) -> requests.Session:
        platform = self._platform()
        session = requests.Session()
        # Never a proxy, certificate bundle or password that the environment happens to name.
        session.trust_env = False
        session.verify = platform.ca_file or True
        if platform.proxy is not None:
            session.proxies = {"http": platform.proxy, "https": platform.proxy}
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=0))
        return session


class _Streamed:
    """A body for requests: has a length, is iterated once, knows whether it was sent whole."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.sent = False

    def __len__(self) -> int:
        return self._body.length

    def __iter__(self) -> Iterator[bytes]:
        # Each piece is a packet of its own on the line: field by field would be a hundred small ones.
        yield from gathered(self._body.chunks(), SEND_BYTES)
        self.sent = True


def _names(response: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _fulfil(answer: Future[Answer], work: Callable[[], Answer]) -> None:
    try:
        answer.set_result(work())
    except BaseException as error:  # noqa: BLE001 -- it belongs to the thread that asked
        answer.set_exception(error)


def _bounded(response: requests.Response) -> bytes | None:
    """Return the answer's body, None when it is larger than any answer."""
    content = b""
    for chunk in response.iter_content(16384):
        content += chunk
        if len(content) > MAX_ANSWER:
            return None
    return content


#: What certainly kept the request from arriving, most specific first.
_NOT_ARRIVED: tuple[tuple[type[requests.RequestException], str], ...] = (
    (requests.exceptions.SSLError, "E4103"),
    (requests.exceptions.ConnectTimeout, "E4102"),
    (requests.exceptions.ProxyError, "E4107"),
    (requests.exceptions.InvalidURL, "E4302"),
    (requests.exceptions.InvalidSchema, "E4302"),
)


def _network(error: requests.RequestException, *, sent: bool) -> PlatformDown | Unknown:
    """Classify what the network did. The exception's text is not shown: it quotes addresses and proxies."""
    kind = type(error).__name__
    for known, code in _NOT_ARRIVED:
        if isinstance(error, known):
            return PlatformDown(code, kind)
    if sent:
        return Unknown("E4105", kind)
    cause = repr(error.args)
    refused = "NewConnectionError" in cause or "NameResolutionError" in cause
    return PlatformDown("E4101" if refused else "E4104", kind)
