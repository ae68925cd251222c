"""What a backlog costs: claim and start with 0, 2,000 and 100,000 records waiting; syncs of one record."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from agent.outbox import claims, owner
from bench.queues import Sealed

RECORD_BYTES = 2000
BACKLOGS = (0, 2_000, 100_000)
#: Records whose syncs are counted.
RECORDS = 20


def read_bytes() -> int:
    """Return the bytes that this process has read through the kernel so far."""
    found = re.search(r"^rchar: (\d+)$", Path("/proc/self/io").read_text(), flags=re.MULTILINE)
    return int(found.group(1)) if found else 0


def with_backlog(folder: Path, count: int) -> dict[str, Any]:
    """Return plan, pages and seconds of a claim, and the seconds of a start, with so many waiting."""
    queue = Sealed(folder)
    queue.fill(os.urandom(RECORD_BYTES), count + 1)
    queue.close()
    started = time.perf_counter()
    queue = Sealed(folder)
    start_s = time.perf_counter() - started
    queue.close()
    connection = owner.connect(folder / "outbox.db")
    plan = _plan(connection)
    connection.execute("SELECT count(*) FROM setting").fetchone()  # the schema itself is read once
    before = read_bytes()
    if claims.take(connection, 1, datetime.now(timezone.utc), 0) is None:
        raise LookupError("nothing was due")
    page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])
    pages = (read_bytes() - before) // page_bytes
    connection.close()
    return {"waiting": count, "plan": plan, "pages": pages, "start_s": round(start_s, 2)}


def _plan(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {claims.DUE}", {"lane": 0, "now": 2**53, "most": 1})
    return [row["detail"] for row in rows]


ONE_BY_ONE = """
import os, sys
from pathlib import Path
from bench.queues import Sealed
queue = Sealed(Path(sys.argv[1]))
os.write(1, b"begin\\n")
for _ in range(int(sys.argv[2])):
    queue.begin(); queue.put(bytes(2000)); queue.take(); queue.done()
os.write(1, b"end\\n")
os._exit(0)
"""


def syncs_per_record() -> float:
    """Return how often a record syncs from the opened mark to its receipt, counted by strace."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "trace"
        trace = ["strace", "-f", "-e", "trace=fsync,fdatasync,write", "-e", "signal=none", "-o", str(log)]
        subprocess.run(
            [*trace, sys.executable, "-c", ONE_BY_ONE, folder, str(RECORDS)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        text = log.read_text()
    measured = text[text.index('"begin\\n"') : text.index('"end\\n"')]
    return len(re.findall(r"\bf(?:data)?sync\(", measured)) / RECORDS
