"""SM4-ECB over the body, as the document wants it: `{"data":"<ciphertext>"}`; and back, for answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from agent import sm
from agent.config.schema import Conventions
from agent.hmpt.body import Body, base64_length, of_pieces, regrouped

_HEX = re.compile(r"[0-9A-Fa-f]+")


def encrypted(body: Body, key: bytes, conventions: Conventions) -> Body:
    """Return the body under SM4-ECB (P15, P16), streamed, its length known in advance."""
    padded = _padded_length(body.length, conventions)
    if conventions.cipher_encoding == "base64":
        text = Body(base64_length(padded), lambda: _base64(_ciphertext(body, key, conventions)))
    else:
        upper = conventions.cipher_encoding == "HEX"
        text = Body(2 * padded, lambda: _hex(_ciphertext(body, key, conventions), upper=upper))
    return of_pieces([b'{"data":"', text, b'"}'])


def _padded_length(length: int, conventions: Conventions) -> int:
    if conventions.padding == "pkcs7":
        return (length // sm.BLOCK + 1) * sm.BLOCK
    return -(-length // sm.BLOCK) * sm.BLOCK


def _ciphertext(body: Body, key: bytes, conventions: Conventions) -> Iterator[bytes]:
    running = sm.sm4_ecb_encryptor(key)
    count = _padded_length(body.length, conventions) - body.length
    padding = bytes((count if conventions.padding == "pkcs7" else 0,)) * count

    def plain() -> Iterator[bytes]:
        yield from body.chunks()
        yield padding

    for blocks in regrouped(plain(), sm.BLOCK):
        yield running.update(blocks)
    yield running.finalize()


def _base64(chunks: Iterator[bytes]) -> Iterator[bytes]:
    return (base64.b64encode(piece) for piece in regrouped(chunks, 3))


def _hex(chunks: Iterator[bytes], *, upper: bool) -> Iterator[bytes]:
    for chunk in chunks:
        text = chunk.hex()
        yield (text.upper() if upper else text).encode()


def decrypted(text: str, key: bytes) -> bytes:
    """Return the plaintext of an answer's ciphertext, in whatever text form it came.

    Hex of both cases, base64 with line breaks, URL-safe base64. ValueError when it is none of these, or
    does not end in a padding.
    """
    compact = "".join(text.split())
    raw = (
        bytes.fromhex(compact)
        if _HEX.fullmatch(compact) and len(compact) % 2 == 0
        else _base64_bytes(compact)
    )
    if not raw or len(raw) % sm.BLOCK:
        raise ValueError("not whole blocks")
    running = sm.sm4_ecb_decryptor(key)
    plain = running.update(raw) + running.finalize()
    count = plain[-1]
    if 1 <= count <= sm.BLOCK and plain.endswith(bytes((count,)) * count):
        return plain[:-count]
    if count == 0 or plain.rstrip(b"\0").endswith(b"}"):
        return plain.rstrip(b"\0")
    raise ValueError("no padding")


def _base64_bytes(text: str) -> bytes:
    standard = text.translate(str.maketrans("-_", "+/"))
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
