"""Lines to readers behind three methods. A transport knows no protocol."""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """A byte line to a reader."""

    def read(self, timeout_s: float) -> bytes:
        """Return what arrives within `timeout_s`, b"" for nothing. ReaderUnplugged when the line is gone."""
        ...

    def write(self, data: bytes) -> None:
        """Send all of `data`. ReaderUnplugged when the line is gone."""
        ...

    def close(self) -> None:
        """Give the line back; a second call does nothing."""
        ...
