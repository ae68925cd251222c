"""Is it a card reader at the other end? Asked only of a port that somebody has pointed at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drivers.errors import ReaderError, ReaderProtocolError, ReaderRefused, ReaderTimeout
from drivers.sdt.reader import SdtReader
from drivers.transport import Transport
from drivers.transport.recording import RecordingTransport


@dataclass(frozen=True)
class Found:
    """A reader. `sam_id` is None for a module that does not tell its id."""

    status: int
    sam_id: str | None


def ask(line: Transport, monotonic: Callable[[], float], port: str) -> Found:
    """Ask for status and id, and close the line.

    ReaderError: E1104 for silence, E1115 for something that answers in another protocol, E1107 for a
    module that must be repaired.
    """
    noted = RecordingTransport(line, monotonic)
    reader = SdtReader(noted, monotonic, port)
    try:
        return Found(reader.status(), _sam_id(reader))
    except (ReaderTimeout, ReaderProtocolError):
        received = sum(len(entry.data) for entry in noted.entries if not entry.sent)
        if received:
            raise ReaderError("E1115", port=port, received=f"{received} bytes") from None
        raise
    finally:
        reader.close()


def _sam_id(reader: SdtReader) -> str | None:
    try:
        return reader.sam_id()
    except ReaderRefused as error:
        if error.code == "E1107":
            raise
        return None
