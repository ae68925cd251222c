"""One queue, one size, one backlog, in a process of its own: `... measure NAME SIZE BACKLOG FOLDER`."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.disk import RawDisk, bytes_written, seal
from bench.queues import QUEUES

#: Operations measured at each size; a cell ends early when it takes too long.
OPERATIONS = {200_000: 150, 500_000: 100, 1_000_000: 80, 6_000_000: 30}
ENOUGH_S = 25.0


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cell(name: str, size: int, backlog: int, folder: Path) -> dict[str, Any]:
    """Return the figures of one cell: seconds of each operation, bytes written for each byte of payload."""
    kind, payload, raw = QUEUES[name], os.urandom(size), RawDisk(folder)
    queue = kind(folder)
    if backlog:
        queue.fill(payload, backlog)
        os.sync()
    for _ in range(3):
        raw.append(payload)
        raw.acknowledge(size)
    took: dict[str, list[float]] = {key: [] for key in ("floor", "cipher", "put", "ack_floor", "ack")}
    written, end = 0, time.perf_counter() + ENOUGH_S
    while len(took["put"]) < OPERATIONS.get(size, 50) and time.perf_counter() < end:
        took["floor"].append(raw.append(payload))
        took["ack_floor"].append(raw.acknowledge(size))
        took["cipher"].append(seal(payload) if kind.sealed else 0.0)
        before = bytes_written()
        queue.begin()
        took["put"].append(timed(lambda: queue.put(payload)))
        took["ack"].append(timed(lambda: acknowledged(queue, size)))
        written += bytes_written() - before
    before, count = bytes_written(), len(took["put"])
    clean_s = timed(queue.clean)
    queue.close()
    written += bytes_written() - before
    raw.close()
    limit = [floor + cipher for floor, cipher in zip(took["floor"], took["cipher"], strict=True)]
    return {
        "name": name,
        "size": size,
        "backlog": backlog,
        "count": count,
        "put_ms": round(1000 * statistics.median(took["put"]), 2),
        "put_ratio": ratio(limit, took["put"]),
        "ack_ms": round(1000 * statistics.median(took["ack"]), 2),
        "ack_ratio": ratio(took["ack_floor"], took["ack"]),
        "clean_ms": round(1000 * clean_s / count, 2),
        "written": round(written / count / size, 3),
    }


def acknowledged(queue: Any, size: int) -> None:
    """Take one and acknowledge it."""
    if len(queue.take()) != size:
        raise ValueError("another record came back")
    queue.done()


def ratio(floor: list[float], measured: list[float]) -> list[float]:
    """Return floor / measured, of the medians and of the means: 1.0 is as fast as the disk."""
    of_medians = statistics.median(floor) / statistics.median(measured)
    return [round(of_medians, 2), round(statistics.fmean(floor) / statistics.fmean(measured), 2)]


if __name__ == "__main__":
    name, size, backlog, folder = sys.argv[1:]
    print(json.dumps(cell(name, int(size), int(backlog), Path(folder))))
