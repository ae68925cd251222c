"""A line that writes down what goes over it."""

from __future__ import annotations

from collections.abc import Callable

from drivers.transcript import Entry
from drivers.transport import Transport

#: Half an hour of polling; then the oldest entries would have to go, and nobody records that long.
MAX_ENTRIES = 20_000


class RecordingTransport:
    """Passes everything on to another transport and keeps a copy."""

    def __init__(self, line: Transport, monotonic: Callable[[], float]) -> None:
        self.line = line
        self._monotonic = monotonic
        self._started = monotonic()
        self.entries: list[Entry] = []

    def read(self, timeout_s: float) -> bytes:
        """Return what arrives, and note it."""
        data = self.line.read(timeout_s)
        if data:
            self._note(data, sent=False)
        return data

    def write(self, data: bytes) -> None:
        """Send, and note it."""
        self._note(data, sent=True)
        self.line.write(data)

    def close(self) -> None:
        """Close the other transport; what was noted stays."""
        self.line.close()

    def _note(self, data: bytes, *, sent: bool) -> None:
        if len(self.entries) < MAX_ENTRIES:
            self.entries.append(Entry(self._monotonic() - self._started, sent, data))
