"""The platform as its document describes it, on loopback: for demo, tests and rehearsals.

Written from the document, not from the client: both endpoints, five headers, HMAC-SM3 over id and time,
SM4-ECB bodies, every field's rule, registered and enabled devices only, the documented answers - in any
dialect that the document leaves room for, and with faults to order.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.simulate import answer as answers
from agent.simulate import wire
from agent.simulate.answer import Answer, Composer
from agent.simulate.dialect import LIKELY, Dialect, parse_dialect
from agent.simulate.faults import Faults, Schedule, parse_faults
from agent.simulate.judgement import MACHINE_INFO, VERIFICATION, Judge, Party, Refusal, Request
from agent.simulate.ledger import Device, Ledger

__all__ = ["Dialect", "Faults", "SimulatedPlatform", "parse_dialect", "parse_faults"]

#: A client that says nothing for so long is hung up on; an ordered `hang` lasts as long.
SILENCE_S = 30.0
#: A slow answer comes a piece at a time with such pauses.
DRIP_S = 0.2
DRIP_BYTES = 8


class SimulatedPlatform:
    """Serves until closed. `dialect` and `faults` may be replaced while it serves."""

    def __init__(
        self,
        secret: str,
        app_id: str,
        authorization: str,
        ledger: Path | None = None,
        *,
        port: int = 0,
        dialect: Dialect = LIKELY,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.dialect = dialect
        self.faults = faults or Faults()
        self.ledger = Ledger(ledger)
        self._party = Party(secret.encode(), app_id, authorization)
        wire.check(dialect, self._party.secret)
        self._clock = clock
        self._judge = Judge(self._party, self.ledger, clock)
        self._composer = Composer(self._party)
        self._schedule = Schedule()
        self._closing = threading.Event()
        self._count_lock = threading.Lock()
        self.requests = 0  # that reached either interface
        try:
            self._server = _Server(port, self)
        except OSError:
            self.ledger.close()
            raise
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="platform", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> SimulatedPlatform:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.dialect.prefix}"

    def accepted(self) -> list[dict[str, Any]]:
        """Return every accepted record's ledger line."""
        return self.ledger.records()

    def order(self, *names: str) -> None:
        """Order a fault for each of the next requests that `faults.on` names; `ok` for none."""
        self._schedule.order(*names)

    def enter_by_hand(self, devices: Iterable[Device], *, enabled: bool = True) -> None:
        """Note devices as a hospital's administrator does, by (machineCode, deviceNo); or switch them off."""
        for machine, number in devices:
            if (
                self.ledger.enabled((machine, number)) != enabled
                or (machine, number) not in self.ledger.devices()
            ):
                self.ledger.append(
                    {
                        "kind": "device",
                        "machineCode": machine,
                        "deviceNo": number,
                        "status": 0 if enabled else 1,
                    }
                )

    def sign(self, time_text: str) -> str:
        """Return HMAC_SM3(orgAppId + time, secret) as this platform writes it."""
        return wire.sign(self.dialect, self._party.secret, self._party.app_id, time_text)

    def opened(self, request: Request) -> dict[str, Any]:
        """Return a request's fields as this platform reads them. Refusal for one it does not take."""
        return self._judge.opened(request, self.dialect, self.faults)

    def close(self) -> None:
        """Stop serving and close the ledger."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.ledger.close()

    # --- one request, from the handler's threads ------------------------------------------------------

    def now(self) -> float:
        """Return the platform's idea of the time, in seconds since 1970."""
        return self._clock() + self.faults.skew

    def due(self, path: str) -> frozenset[str]:
        """Return which faults befall the request that just came in, and count it."""
        with self._count_lock:
            self.requests += 1
        return self._schedule.next(self.faults, record=path.endswith(VERIFICATION))

    def serve(self, request: Request, names: frozenset[str]) -> Answer:
        """Return what answers a request."""
        faults, dialect = self.faults, self.dialect
        self._closing.wait(faults.delay)
        early = answers.before(names, faults, self.now(), dialect)
        if early is not None:
            return early
        status, content = self._judged(request, names)
        if content is None:
            return answers.bare(status, dialect, from_bus=not self._judge.knows_ticket(request))
        sent = request.headers.get("hmpt-portal-time", "")
        return self._composer.answer(status, content, request.request_id, sent, self.now(), dialect, names)

    def _judged(self, request: Request, names: frozenset[str]) -> tuple[int, dict[str, Any] | None]:
        try:
            ordered = answers.ordered_refusal(names)
            if ordered is not None:
                raise ordered
            if "silent" in names:
                return 200, {"code": 200, "msg": "成功", "exceptionCode": "00000"}
            return 200, self._judge.take(request, self.dialect, self.faults)
        except Refusal as refusal:
            return answers.refused(refusal, self.dialect)

    def linger(self, seconds: float) -> bool:
        """Wait, at most until the platform closes. Return whether it still serves."""
        return not self._closing.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SILENCE_S
    disable_nagle_algorithm = True  # head and body leave in two pieces; the second must not wait for an ACK
    server: _Server

    def do_POST(self) -> None:
        platform = self.server.platform
        path = self.path.removeprefix(platform.dialect.prefix)
        if path not in {MACHINE_INFO, VERIFICATION} or not self.path.startswith(platform.dialect.prefix):
            self._refuse_unread(404)
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse_unread(411)
            return
        if int(length) > platform.dialect.body_limit:
            self._refuse_unread(413)
            return
        names = platform.due(path)
        body = self._read(int(length), names)
        if body is None:
            return
        self._send(
            platform.serve(
                Request(path, {name.lower(): value for name, value in self.headers.items()}, body), names
            )
        )

    def do_GET(self) -> None:
        self._refuse_unread(405 if self.path.endswith((MACHINE_INFO, VERIFICATION)) else 404)

    def _refuse_unread(self, status: int) -> None:
        """Answer without reading the body; what is still coming in cannot be told from a next request."""
        self.close_connection = True
        self._send(Answer(status, {"Connection": "close"}, b""))

    def _read(self, length: int, names: frozenset[str]) -> bytes | None:
        if "cut_request" in names:
            self.rfile.read(length // 2)
            self._reset()
            return None
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return None
        return body

    def _send(self, answer: Answer) -> None:
        platform = self.server.platform
        if answer.manner in {"close", "reset", "hang"}:
            self.close_connection = True
            if answer.manner == "reset":
                self._reset()
            elif answer.manner == "hang":
                platform.linger(SILENCE_S)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        # A client that has left is its own affair.
        with contextlib.suppress(OSError):
            self._send_body(answer)

    def _send_body(self, answer: Answer) -> None:
        if answer.manner == "truncated":
            self.close_connection = True
            self.wfile.write(answer.body[: len(answer.body) // 2])
        elif answer.manner == "slow":
            for start in range(0, len(answer.body), DRIP_BYTES):
                self.wfile.write(answer.body[start : start + DRIP_BYTES])
                self.wfile.flush()
                if not self.server.platform.linger(DRIP_S):
                    break
        else:
            self.wfile.write(answer.body)

    def _reset(self) -> None:
        """Close so that the other side sees a reset, not an end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the Date header's text by the platform's own clock."""
        return super().date_time_string(self.server.platform.now() if timestamp is None else timestamp)

    def log_message(self, *_: object) -> None:
        """Say nothing: what came in is in the ledger."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int, platform: SimulatedPlatform) -> None:
        self.platform = platform
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, known for as long as it is open."""
        self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; one that was set to be reset must not be ended politely first."""
        linger = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        if struct.unpack("ii", linger)[0]:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left in the middle; that is an everyday thing."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """End connections that a client keeps alive, too: nobody answers there any more."""
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        super().server_close()
