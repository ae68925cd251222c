"""A request body that is streamed: its length is known before, its bytes are made while they are sent."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent import sm

#: Pieces of pictures, in bytes before base64: a multiple of three, so that pieces join without padding.
PIECE = 48 * 1024


@dataclass(frozen=True)
class Body:
    """`chunks()` gives the same bytes each time it is called; together they are `length` long."""

    length: int
    _chunks: Callable[[], Iterator[bytes]] = field(repr=False)

    def chunks(self) -> Iterator[bytes]:
        """Return the bytes in pieces of at most some 64 KiB."""
        return self._chunks()


@dataclass(frozen=True)
class Jpeg:
    """A picture as a JSON string: standard alphabet, padded, one line (R16)."""

    content: bytes = field(repr=False)

    @property
    def length(self) -> int:
        """Return the number of base64 characters."""
        return base64_length(len(self.content))

    def chunks(self) -> Iterator[bytes]:
        """Return the base64 in pieces."""
        for start in range(0, len(self.content), PIECE):
            yield base64.b64encode(self.content[start : start + PIECE])


def base64_length(size: int) -> int:
    """Return how many characters base64 makes of so many bytes."""
    return (size + 2) // 3 * 4


def of_members(members: Mapping[str, str | Jpeg]) -> Body:
    """Return a JSON object of `members`: ready-made JSON tokens, or pictures."""
    pieces: list[bytes | Jpeg] = []
    for position, (name, value) in enumerate(members.items()):
        pieces.append(f'{"," if position else "{"}"{name}":'.encode())
        pieces += [b'"', value, b'"'] if isinstance(value, Jpeg) else [value.encode()]
    pieces.append(b"}")
    return of_pieces(pieces)


def of_pieces(pieces: Sequence[bytes | Jpeg | Body]) -> Body:
    """Return the body that consists of these pieces."""
    length = sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)

    def chunks() -> Iterator[bytes]:
        for piece in pieces:
            yield from (piece,) if isinstance(piece, bytes) else piece.chunks()

    return Body(length, chunks)


def hashed(body: Body, keep_bytes: int) -> tuple[Body, str]:
    """Return the body and its SM3 in hex, by one pass; up to `keep_bytes` its bytes are kept for sending."""
    running = sm.new_sm3()
    kept: list[bytes] | None = [] if body.length <= keep_bytes else None
    for chunk in body.chunks():
        running.update(chunk)
        if kept is not None:
            kept.append(chunk)
    held = body if kept is None else Body(body.length, lambda: iter(kept))
    return held, running.hexdigest()


def gathered(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Return the same bytes, small pieces joined until they are `size` long; larger ones are not copied."""
    small = bytearray()
    for chunk in chunks:
        large = len(chunk) >= size
        if not large:
            small += chunk
        if small and (large or len(small) >= size):
            yield bytes(small)
            small.clear()
        if large:
            yield chunk
    if small:
        yield bytes(small)


def regrouped(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Return the same bytes in pieces that are multiples of `size`, but for the last."""
    rest = b""
    for chunk in chunks:
        joined = rest + chunk
        whole = len(joined) - len(joined) % size
        rest = joined[whole:]
        if whole:
            yield joined[:whole]
    if rest:
        yield rest
