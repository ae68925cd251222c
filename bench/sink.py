"""A platform that takes everything and looks at nothing, in a process of its own: the sender's cost is left.

python -m bench.sink          prints its port, serves until its standard input ends
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"hmpt-portal-request-id: (\w+)", re.IGNORECASE)


def serve(connection: socket.socket) -> None:
    """Answer every request of one connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    room = memoryview(bytearray(2**20))
    with connection:
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    return
                head += data
            head, _, begun = head.partition(b"\r\n\r\n")
            left = int(found[1]) - len(begun) if (found := _LENGTH.search(head)) else 0
            while left > 0:
                left -= connection.recv_into(room, min(left, len(room)))
            request = _REQUEST_ID.search(head)
            connection.sendall(_answer(request[1].decode() if request else ""))


def _answer(request_id: str) -> bytes:
    content = {"code": 200, "msg": "", "exceptionCode": "00000", "requestId": request_id, "data": None}
    body = json.dumps({**content, "returnTime": int(time.time() * 1000)}).encode()
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )


def main() -> None:
    """Serve."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
