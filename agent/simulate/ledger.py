"""What the simulated platform accepted: one JSON line each, appended and synced, naming no person."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any


class Ledger:
    """An append-only file, or memory alone where no path is given. Safe from any thread."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._lines: list[dict[str, Any]] = _read(path)
        self._file = None if path is None else path.open("a", encoding="utf-8")

    def append(self, line: dict[str, Any]) -> None:
        """Add a line; it is on the disk when this returns."""
        with self._lock:
            self._lines.append(line)
            if self._file is not None:
                self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._file.flush()
                os.fsync(self._file.fileno())

    def records(self) -> list[dict[str, Any]]:
        """Return every accepted record, repeats included."""
        with self._lock:
            return [line for line in self._lines if line["kind"] == "record"]

    def devices(self) -> set[tuple[str, str]]:
        """Return (machineCode, deviceNo) of every registered device."""
        with self._lock:
            return {
                (line["machineCode"], line["deviceNo"]) for line in self._lines if line["kind"] == "device"
            }

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _read(path: Path | None) -> list[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    # A line torn by a kill was never acknowledged to anybody.
    whole = [line for line in path.read_text("utf-8").split("\n") if line.endswith("}")]
    return [json.loads(line) for line in whole]
