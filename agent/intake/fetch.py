"""Pictures that a result only names: files below one folder, addresses on this machine. Nothing else, ever.

What a caller names is never followed out: no `..`, no symbolic link, no other host, no redirect, no proxy.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from agent.clock import Clock
from agent.intake.pictures import MAX_BYTES, Forbidden

CONNECT_S, SILENT_S, TOTAL_S = 2.0, 5.0, 10.0


def file(root: Path | None, name: str) -> bytes:
    """Return a file below `root`. Forbidden for whatever leads out of it, or is no plain file."""
    if root is None:
        raise Forbidden("no folder for pictures is configured")
    if name.startswith(f"{root}/"):  # kiosks write whole paths
        name = name[len(f"{root}/") :]
    parts = name.split("/")
    if not all(part not in {"", ".", ".."} and "\0" not in part for part in parts):
        raise Forbidden("not a file below the folder")
    opened: list[int] = []
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        opened.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in parts[:-1]:
            opened.append(os.open(part, flags | os.O_DIRECTORY, dir_fd=opened[-1]))
        # Not blocking: a pipe of that name would hold us for ever.
        opened.append(os.open(parts[-1], flags | os.O_NONBLOCK, dir_fd=opened[-1]))
        return _content(opened[-1])
    except OSError:
        raise Forbidden("not a file below the folder") from None
    finally:
        for descriptor in opened:
            with suppress(OSError):
                os.close(descriptor)


def _content(descriptor: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise Forbidden("not a file below the folder")
    if status.st_size > MAX_BYTES:
        raise Forbidden(f"larger than {MAX_BYTES} bytes")
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        return stream.read(MAX_BYTES)


def url(clock: Clock, address: str) -> bytes:
    """Return what an http address on this machine answers. Forbidden for any other address or answer."""
    import requests

    target = _loopback(address)
    deadline = clock.monotonic() + TOTAL_S
    body = bytearray()
    try:
        with requests.Session() as session:
            session.trust_env = False
            with session.get(
                target, timeout=(CONNECT_S, SILENT_S), allow_redirects=False, stream=True
            ) as answer:
                if answer.status_code != requests.codes.ok:
                    raise Forbidden(f"HTTP {answer.status_code}")
                for piece in answer.iter_content(65536):
                    body += piece
                    if len(body) > MAX_BYTES or clock.monotonic() > deadline:
                        raise Forbidden(f"larger than {MAX_BYTES} bytes, or slower than {TOTAL_S:.0f} s")
    except (requests.RequestException, ValueError) as error:
        if isinstance(error, Forbidden):
            raise
        raise Forbidden(type(error).__name__) from None
    return bytes(body)


def _loopback(address: str) -> str:
    """Return the address with a literal host: a name could lead anywhere, now or at the next look."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
        literal = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise Forbidden("not an http address on this machine") from None
    if parts.scheme != "http" or not literal.is_loopback or parts.username or parts.password:
        raise Forbidden("not an http address on this machine")
    shown = f"[{literal}]" if literal.version == 6 else str(literal)
    netloc = shown if port is None else f"{shown}:{port}"
    return urlunsplit(("http", netloc, parts.path, parts.query, ""))
