"""The other half of RTSP: a server that sends JPEG pictures over one TCP connection.

RTSP 1.0 by RFC 2326 with interleaved RTP (section 10.12), JPEG by RFC 2435: quantisation tables in band
(Q = 255), Huffman tables the standard ones, so that a picture is its scan and a header of eight bytes.
"""

from __future__ import annotations

import base64
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np

from agent import jpeg

FPS = 15
CHUNK = 1200


class RtspServer:
    """Serves on loopback until closed. `picture` returns what the camera sees now, BGR."""

    def __init__(self, picture: Callable[[], np.ndarray], kept: list[np.ndarray] | None = None) -> None:
        self.picture = picture
        #: What the camera sends first and at once, as one that keeps the time since its last key frame does.
        self.kept = kept or []
        self.sessions = 0
        self.open = 0
        self.password: str | None = None  # of the user `admin`; None lets anybody in
        self._closing = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._connections: list[socket.socket] = []
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._socket.getsockname()[1]}/desk"

    def drop(self) -> None:
        """Hang up on everybody, as a camera that loses power does."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        playing = threading.Event()
        sender = threading.Thread(target=self._send, args=(connection, playing), daemon=True)
        with connection, suppress(OSError):
            while request := _request(connection):
                verb, headers = request
                connection.sendall(self._answer(verb, headers))
                if verb == b"PLAY":
                    self.sessions += 1
                    sender.start()
                if verb == b"TEARDOWN":
                    break
        playing.set()
        if sender.ident is not None:
            sender.join()

    def _answer(self, verb: bytes, headers: dict[bytes, bytes]) -> bytes:
        if self.password is not None and verb != b"OPTIONS":
            wanted = b"Basic " + base64.b64encode(b"admin:" + self.password.encode())
            if headers.get(b"authorization") != wanted:
                lines = [b"RTSP/1.0 401 Unauthorized", b"CSeq: " + headers.get(b"cseq", b"0")]
                return b"\r\n".join([*lines, b'WWW-Authenticate: Basic realm="camera"', b"", b""])
        body = b""
        lines = [b"RTSP/1.0 200 OK", b"CSeq: " + headers.get(b"cseq", b"0"), b"Session: 1"]
        if verb == b"OPTIONS":
            lines.append(b"Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        if verb == b"DESCRIBE":
            body = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=desk\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track\r\n"
            lines += [b"Content-Type: application/sdp", b"Content-Length: %d" % len(body)]
        if verb == b"SETUP":
            lines.append(b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def _send(self, connection: socket.socket, over: threading.Event) -> None:
        sequence, self.open = 0, self.open + 1
        try:
            for picture in self.kept:
                sequence = _send_picture(connection, picture, sequence)
            while not over.wait(1 / FPS) and not self._closing.is_set():
                sequence = _send_picture(connection, self.picture(), sequence)
        except OSError:
            return
        finally:
            self.open -= 1


def _request(connection: socket.socket) -> tuple[bytes, dict[bytes, bytes]] | None:
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(4096)
        if not data:
            return None
        received += data
        # Reports of the receiver come interleaved between requests: $, channel, length.
        while received[:1] == b"$" and len(received) >= 4:
            length = 4 + int.from_bytes(received[2:4], "big")
            if len(received) < length:
                break
            received = received[length:]
    first, *rest = received.split(b"\r\n\r\n")[0].split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in rest if b": " in line)
    return first.split(b" ")[0], {name.lower(): value for name, value in headers.items()}


def _send_picture(connection: socket.socket, picture: np.ndarray, sequence: int) -> int:
    """Send one picture as RTP packets. Return the next sequence number."""
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    found = list(jpeg.segments(encoded))
    tables = b"".join(
        s.content[1 + 65 * n : 65 * (n + 1)]
        for s in found
        if s.marker == 0xDB
        for n in range(len(s.content) // 65)
    )
    scan = encoded[found[-1].end : -2]
    height, width = picture.shape[:2]
    stamp = int(time.monotonic() * 90_000) & 0xFFFFFFFF
    for at in range(0, len(scan), CHUNK):
        piece = scan[at : at + CHUNK]
        last = at + CHUNK >= len(scan)
        head = struct.pack(">BBHII", 0x80, 26 | (0x80 if last else 0), sequence & 0xFFFF, stamp, 1)
        head += struct.pack(">I", at) + bytes([1, 255, width // 8, height // 8])
        if at == 0:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        packet = head + piece
        connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
        sequence += 1
    return sequence


@contextmanager
def rtsp(picture: Callable[[], np.ndarray], kept: list[np.ndarray] | None = None) -> Iterator[RtspServer]:
    """Run a camera on the network."""
    server = RtspServer(picture, kept)
    try:
        yield server
    finally:
        server.close()
