"""Opening the reader: of several that `reader.port` allows, the one that was commissioned here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drivers.errors import ReaderError
from drivers.sdt.reader import SdtReader
from drivers.transport import Transport
from drivers.transport.serial import BAUD
from drivers.transport.traced import Traced


def opened(
    lines: Sequence[Callable[[], Transport]],
    port: str,
    monotonic: Callable[[], float],
    commissioned: str | None,
    baud: int = BAUD,
) -> SdtReader:
    """Return the commissioned reader among `lines`, else the first that opens: whether that will do is for
    the watch to say. ReaderError, the first one's, when none opens."""
    errors: list[ReaderError] = []
    first: SdtReader | None = None
    for line in lines:
        try:
            reader = SdtReader(Traced(line(), port), monotonic, port, baud)
        except ReaderError as error:
            errors.append(error)
            continue
        if len(lines) == 1 or commissioned is None or _is(reader, commissioned):
            if first is not None:
                first.close()
            return reader
        if first is None:
            first = reader
        else:
            reader.close()
    if first is None:
        raise errors[0]
    return first


def _is(reader: SdtReader, commissioned: str) -> bool:
    try:
        return reader.sam_id() == commissioned
    except ReaderError:
        return False
