"""`python -m bench`: measure, and print the tables of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import desk, waiting
from bench.queues import QUEUES

OURS, SEALED = "outbox, storage alone", "outbox, sealed"
#: size -> least ratio of put, and of claim + settle, for the storage alone.
TARGETS = {200_000: (0.7, 0.4), 1_000_000: (0.6, 0.35), 6_000_000: (0.5, 0.25)}
SEALED_PUT, MOST_SYNCS, MOST_WRITTEN, MOST_START_S = 0.85, 2.2, 2.1, 2.0
#: A backlog of 2,000 records of 6 MB would be 12 GB.
MAX_BACKLOG_BYTES = 2_400_000_000


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    parser.add_argument("--sizes", default="200000,500000,1000000,6000000")
    parser.add_argument("--backlogs", default="0,2000")
    parser.add_argument("--quick", action="store_true", help="ours alone, without a backlog")
    parser.add_argument("--sync-ms", type=float, default=0, help="let each sync take so much longer (strace)")
    parser.add_argument("--desk", action="store_true", help="the desk alone: engine, loop, memory")
    parser.add_argument("--platform", action="store_true", help="the way to the platform alone")
    options = parser.parse_args()
    if options.desk:
        desk.run()
        return
    if options.platform:
        _platform(options.folder)
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    names = [OURS, SEALED] if options.quick else list(QUEUES)
    backlogs = [0] if options.quick else [int(backlog) for backlog in options.backlogs.split(",")]
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as folder:
        print(f"{platform.machine()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}\n")
        cells = list(_table(names, sizes, backlogs, Path(folder), options.sync_ms))
        print()
        for line in [*_verdicts(cells), *_waiting(Path(folder), quick=options.quick)]:
            print(line)


def _platform(folder: Path | None) -> None:
    from bench import upload

    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as place:
        for line in upload.run(Path(place)):
            print(line, flush=True)


def _table(
    names: Sequence[str], sizes: Sequence[int], backlogs: Sequence[int], folder: Path, sync_ms: float
) -> Iterator[dict[str, Any]]:
    print("| KB | waiting | queue | put ms | of the limit | claim + done ms | of the limit | written |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for size in sizes:
        for backlog in dict.fromkeys(min(backlog, MAX_BACKLOG_BYTES // size) for backlog in backlogs):
            for name in names:
                cell = _measured(name, size, backlog, folder / "cell", sync_ms)
                put, ack = ("{:.2f} ({:.2f})".format(*cell[key]) for key in ("put_ratio", "ack_ratio"))
                row = (size // 1000, backlog, name, cell["put_ms"], put, cell["ack_ms"], ack)
                print("|", " | ".join(map(str, row)), "|", cell["written"], "|", flush=True)
                yield cell


def _measured(name: str, size: int, backlog: int, folder: Path, sync_ms: float) -> dict[str, Any]:
    folder.mkdir()
    command = [*_slower(sync_ms), sys.executable, "-m", "bench.measure", name, str(size), str(backlog)]
    command.append(str(folder))
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        shutil.rmtree(folder)
    cell: dict[str, Any] = json.loads(run.stdout)
    return cell


def _slower(sync_ms: float) -> list[str]:
    """Return the command before a command that makes each of its syncs take `sync_ms` longer.

    A virtual disk with a write-back cache syncs in a tenth of a millisecond, so that every queue is held
    against its own instructions; a kiosk's disk takes milliseconds, and then the number of syncs decides.
    """
    if sync_ms <= 0:
        return []
    delay = f"inject=fsync,fdatasync:delay_enter={round(1000 * sync_ms)}"
    return ["strace", "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-e", delay, "-o", "/dev/null"]


def _verdicts(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Hold our own cells against their targets, by the ratio of medians."""
    for cell in cells:
        what = f"{cell['size'] // 1000} KB, {cell['backlog']} waiting"
        if cell["name"] == OURS and cell["size"] in TARGETS:
            put, ack = TARGETS[cell["size"]]
            yield _verdict(f"{what}: put", cell["put_ratio"][0], ">=", put)
            yield _verdict(f"{what}: claim + settle", cell["ack_ratio"][0], ">=", ack)
        if cell["name"] == SEALED:
            yield _verdict(f"{what}: sealed put", cell["put_ratio"][0], ">=", SEALED_PUT)
        if cell["name"] == OURS and cell["size"] >= 500_000:
            yield _verdict(f"{what}: bytes written", cell["written"], "<=", MOST_WRITTEN)


def _waiting(folder: Path, *, quick: bool) -> Iterator[str]:
    yield _verdict("syncs of a record", waiting.syncs_per_record(), "<=", MOST_SYNCS)
    plans = []
    for count in waiting.BACKLOGS[: 2 if quick else None]:
        cell = folder / "waiting"
        cell.mkdir()
        found = waiting.with_backlog(cell, count)
        shutil.rmtree(cell)
        plans.append(found["plan"])
        yield f"{count} waiting: {found['pages']} pages read by a claim"
        yield _verdict(f"{count} waiting: start, seconds", found["start_s"], "<=", MOST_START_S)
    same = all(plan == plans[0] for plan in plans)
    yield f"{'yes' if same else 'NO '} one plan for all: {'; '.join(plans[0])}"


def _verdict(what: str, found: float, sense: str, limit: float) -> str:
    held = found >= limit if sense == ">=" else found <= limit
    return f"{'yes' if held else 'NO '} {what}: {found} ({sense} {limit})"


if __name__ == "__main__":
    main()
