"""The daemon's end of the control socket: a few threads, bounded in number, size and time."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from agent import logs
from agent.catalogue import AgentError
from agent.control import protocol
from agent.control.client import socket_path
from agent.control.protocol import Caller, Handler
from drivers.errors import CodedError

log = logs.get(__name__)

#: Callers at once; the next one waits in the socket's backlog.
MAX_CALLERS = 8
#: How long a caller may take over its line.
LINE_S = 5.0
MODE = 0o660


class ControlServer:
    """Listens until closed. One request a connection."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._places = threading.Semaphore(MAX_CALLERS)
        self._closing = threading.Event()
        self._callers: set[socket.socket] = set()
        self._socket = _listening(path)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    @classmethod
    def at(cls, state_dir: Path, env: Mapping[str, str], handlers: Mapping[str, Handler]) -> ControlServer:
        """Listen where clients of this state directory look."""
        return cls(socket_path(state_dir, env), handlers)

    def __enter__(self) -> ControlServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, wait for the callers under way, take the socket away."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        # A caller that has said nothing yet is hung up on; one whose verb runs gets its answer.
        for caller in list(self._callers):
            with contextlib.suppress(OSError):
                caller.shutdown(socket.SHUT_RD)
        for _ in range(MAX_CALLERS):
            self._places.acquire(timeout=LINE_S)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._places.acquire()
            self._callers.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="control call", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(LINE_S)
                with contextlib.suppress(OSError):
                    connection.sendall(self._answer(connection))
        finally:
            self._callers.discard(connection)
            self._places.release()

    def _answer(self, connection: socket.socket) -> bytes:
        try:
            verb, args, name = protocol.request(_line(connection))
            handler = self._handlers.get(verb)
            if handler is None:
                raise AgentError("E8202", verb=verb[:40])
            uid, pid = _peer(connection)
            return protocol.encoded({"ok": True, "result": handler(args, Caller(uid, pid, name))})
        except CodedError as error:
            return protocol.failure(error)
        except Exception as error:  # the edge of a thread: the caller is told
            log.debug("control call", exc_info=error)
            return protocol.failure(AgentError("E8203", cause=type(error).__name__))


def _listening(path: Path) -> socket.socket:
    """Return a listening socket, taking the place of a stale one that nobody answers."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and _answered(path):
        raise AgentError("E8204", path=path)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        # Born unreadable to others, then opened to the group: never the other way round.
        mask = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(mask)
        path.chmod(MODE)
        listening.listen(MAX_CALLERS)
    except OSError as error:
        listening.close()
        raise AgentError("E8205", path=path, reason=error.strerror or error) from error
    return listening


def _answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _line(connection: socket.socket) -> bytes:
    received = bytearray()
    while b"\n" not in received:
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        received += data
        if not data or len(received) > protocol.MAX_LINE:
            raise AgentError("E8201")
    return bytes(received[: received.index(b"\n")])


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Return uid and pid of the caller as the kernel knows them."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", raw)
    return uid, pid
