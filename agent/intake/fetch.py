"""Pictures that a result only names: files below one folder, addresses on this machine. Nothing else, ever.

What a caller names is never followed out: no `..`, no symbolic link, no other host, no redirect, no proxy.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from agent.clock import Clock
from agent.intake.pictures import MAX_BYTES, Forbidden

_NO_FILE = "not a file below the folder"
CONNECT_S, SILENT_S, TOTAL_S = 2.0, 5.0, 10.0


def file(root: Path | None, name: str) -> bytes:
    """Return a file below `root`. Forbidden for whatever leads out of it, or is no plain file."""
    with _above(root, name) as (folder, last):
        return content(last, MAX_BYTES, folder)


def remove(root: Path | None, name: str) -> None:
    """Delete a file that `file` would return. Forbidden as there."""
    with _above(root, name) as (folder, last):
        os.unlink(last, dir_fd=folder)


def content(name: str | Path, limit: int, folder: int | None = None) -> bytes:
    """Return a plain file's content. Forbidden for anything but a file, and a larger one; OSError."""
    # Not blocking: a pipe of that name would hold us for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise Forbidden(_NO_FILE)
        read = stream.read(limit + 1)
    if len(read) > limit:
        raise Forbidden(f"larger than {limit} bytes")
    return read


@contextmanager
def _above(root: Path | None, name: str) -> Iterator[tuple[int, str]]:
    """Open the folder that holds a named file, following no link on the way."""
    if root is None:
        raise Forbidden("no folder for pictures is configured")
    *folders, last = name.removeprefix(f"{root}/").split("/")  # kiosks write whole paths
    if any(part in {"", ".", ".."} or "\0" in part for part in (*folders, last)):
        raise Forbidden(_NO_FILE)
    with ExitStack() as stack:
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            folder = os.open(root, flags)
            stack.callback(os.close, folder)
            for part in folders:
                folder = os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder)
                stack.callback(os.close, folder)
            yield folder, last
        except OSError:
            raise Forbidden(_NO_FILE) from None


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
