"""Is it a card reader at the other end? Asked only of a port that somebody has pointed at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from drivers.errors import ReaderError, ReaderProtocolError, ReaderRefused, ReaderTimeout
from drivers.sdt.reader import SdtReader
from drivers.transport import Transport
from drivers.transport.recording import RecordingTransport
from drivers.transport.serial import BAUD

#: What 60 00 to 60 04 set, the likeliest first: from the factory, then the slowest, which old hosts ask for.
SPEEDS = (115200, 9600, 57600, 38400, 19200)


@dataclass(frozen=True)
class Found:
    """A reader. `sam_id` is None for a module that does not tell its id, `baud` on lines without a speed."""

    status: int
    sam_id: str | None
    baud: int | None = None


def at_any_speed(
    opened: Callable[[int], Transport], monotonic: Callable[[], float], port: str, first: int = BAUD
) -> Found:
    """Ask a serial port at every speed that a module can be set to, `first` at first.

    ReaderError as `ask`, of the first speed; one at which something answers says more than silence.
    """
    errors: list[ReaderError] = []
    for baud in sorted(SPEEDS, key=lambda one: one != first):
        try:
            return replace(ask(opened(baud), monotonic, port, baud), baud=baud)
        except ReaderError as error:
            if error.code not in {ReaderTimeout.code, "E1115"}:
                raise
            errors.append(error)
    raise next((error for error in errors if error.code == "E1115"), errors[0])


def ask(line: Transport, monotonic: Callable[[], float], port: str, baud: int = BAUD) -> Found:
    """Ask for status and id, and close the line.

    ReaderError: E1104 for silence, E1115 for something that answers in another protocol, E1107 for a
    module that must be repaired.
    """
    noted = RecordingTransport(line, monotonic)
    reader = SdtReader(noted, monotonic, port, baud)
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
