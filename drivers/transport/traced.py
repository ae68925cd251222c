"""What goes over a reader's line, for its maker: at a level of its own, and never a card's content.

Commands hold nothing of a card and are shown whole. Of what comes back only frames that say of themselves
that they are short are shown - a status, the security module's number -; anything else is text or photograph
of a card, or a piece of it: its length is shown, and its head where that is a frame's.
"""

from __future__ import annotations

import logging

from drivers.transport import Transport

log = logging.getLogger(__name__)

#: Below DEBUG: on only where somebody asks for this very level.
TRAFFIC = 5
#: Preamble, length, three status bytes: the head of every answer, with nothing of a card in it.
HEAD = 10
#: The longest answer without a card's content: the security module's number, 16 bytes and a checksum.
SHORT = HEAD + 17
_PREAMBLE = b"\xaa\xaa\xaa\x96\x69"
#: Preamble and length, which counts what follows it.
_BEFORE = 7


class Traced:
    """A transport that tells what it carries."""

    def __init__(self, line: Transport, name: str) -> None:
        self._line = line
        self._name = name

    def read(self, timeout_s: float) -> bytes:
        """Read as the line does."""
        data = self._line.read(timeout_s)
        if data and log.isEnabledFor(TRAFFIC):
            log.log(TRAFFIC, "%s <- %s", self._name, received(data))
        return data

    def write(self, data: bytes) -> None:
        """Write as the line does."""
        if log.isEnabledFor(TRAFFIC):
            log.log(TRAFFIC, "%s -> %s", self._name, data.hex(" "))
        self._line.write(data)

    def close(self) -> None:
        """Close the line."""
        self._line.close()


def received(data: bytes) -> str:
    """Return what may be shown of bytes that came back."""
    if len(data) < HEAD or not data.startswith(_PREAMBLE):
        return f"[{len(data)} bytes]"
    # A line delivers pieces: not what has come, but what the frame says of its length decides.
    whole = _BEFORE + int.from_bytes(data[len(_PREAMBLE) : _BEFORE], "big")
    shown = data[: whole if whole <= SHORT else HEAD]
    left = len(data) - len(shown)
    return shown.hex(" ") + (f" [{left} bytes]" if left else "")
