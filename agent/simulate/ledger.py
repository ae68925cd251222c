"""What the simulated platform accepted: one JSON line each, appended and synced, naming no person.

With a file, only devices and recent request ids stay in memory: a rehearsal of a week may write a million
lines. Without one, only the newest are kept.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Lines that are kept where there is no file.
MAX_LINES = 50_000
MAX_DEVICES = 10_000
#: Request ids that a platform which refuses repeats remembers.
MAX_IDS = 200_000

Device = tuple[str, str]


class Ledger:
    """An append-only file, or memory alone where no path is given. Safe from any thread."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._path = path
        self._lines: deque[dict[str, Any]] = deque(maxlen=MAX_LINES)
        self._devices: dict[Device, bool] = {}
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._records = 0
        for line in _lines(path):
            self._note(line)
        self._file = None if path is None else path.open("a", encoding="utf-8")
        self._end_torn_line()

    def append(self, line: dict[str, Any]) -> None:
        """Add a line; it is on the disk when this returns."""
        with self._lock:
            if self._file is None:
                self._lines.append(line)
            else:
                self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            self._note(line)

    def records(self) -> list[dict[str, Any]]:
        """Return every accepted record, repeats included; without a file, the newest."""
        with self._lock:
            lines = self._lines if self._path is None else _lines(self._path)
            return [line for line in lines if line["kind"] == "record"]

    @property
    def count(self) -> int:
        """Return how many records were accepted, repeats included."""
        return self._records

    def devices(self) -> set[Device]:
        """Return (machineCode, deviceNo) of every registered device, disabled ones included."""
        with self._lock:
            return set(self._devices)

    def enabled(self, device: Device) -> bool:
        """Return whether a device is registered and in use."""
        with self._lock:
            return self._devices.get(device, False)

    def full(self) -> bool:
        """Return whether there is no room for another device."""
        return len(self._devices) >= MAX_DEVICES

    def accepted(self, request_id: str) -> bool:
        """Return whether a record came under this request id, as far back as is remembered."""
        with self._lock:
            return _bare(request_id) in self._ids

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _note(self, line: dict[str, Any]) -> None:
        if line["kind"] == "device":
            self._devices[line["machineCode"], line["deviceNo"]] = line.get("status", 0) == 0
            return
        self._records += 1
        self._ids[_bare(line["requestId"])] = None
        if len(self._ids) > MAX_IDS:
            self._ids.popitem(last=False)

    def _end_torn_line(self) -> None:
        """Give what a kill left half written a line of its own: the next line must not hang on to it."""
        if self._path is None or self._file is None or not self._path.stat().st_size:
            return
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            torn = file.read() != b"\n"
        if torn:
            self._file.write("\n")
            self._file.flush()


def _bare(request_id: str) -> str:
    return request_id.replace("-", "").lower()


def _lines(path: Path | None) -> Iterator[dict[str, Any]]:
    if path is None or not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for text in file:
            # A line torn by a kill was never acknowledged to anybody.
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and "kind" in line:
                yield line
