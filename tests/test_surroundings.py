"""The machine changes under the agent: root read-only, the host renamed, a foreign zone with summer time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
from e2e_support import PATIENCE_S, Process, Site, wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")

#: The state directory stays writable, as systemd's StateDirectory= does; everything else does not.
SURROUNDED = (
    "mount --make-rprivate / && mount --bind '{state}' '{state}' && mount -o remount,bind,ro / && "
    "! touch '{outside}' 2>/dev/null && hostname '{host}' && exec '{python}' -m agent run --config '{config}'"
)


@contextmanager
def surrounded(site: Site, host: str, zone: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon with a read-only root, another host name and another zone."""
    state = site.folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    script = SURROUNDED.format(
        state=state, outside=site.folder / "touched", host=host, python=sys.executable, config=site.config
    )
    with (site.folder / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--uts", "sh", "-c", script],
            stdout=log,
            stderr=log,
            env={**os.environ, "TZ": zone, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            yield process
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()


def ledger(site: Site) -> list[dict[str, object]]:
    lines = site.ledger.read_text("utf-8").splitlines() if site.ledger.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [line for line in found if line.get("kind") != "device"]


def reader(site: Site, number: int) -> Process:
    """Lay one card down and leave it; at the second run many, the first of which is the last run's."""
    return site.reader(1) if number == 1 else site.reader(30, 2.0)


def has(site: Site, number: int) -> bool:
    return len(ledger(site)) >= number


@needs_root
@pytest.mark.needs_root
def test_neither_a_read_only_root_nor_a_new_host_name_nor_summer_time_matters(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    # Another card each time: the last one is not taken again after a restart. Both zones keep summer time; between them the local clock jumps by hours.
    for number, (host, zone) in enumerate(
        [("desk-1", "America/New_York"), ("desk-2", "Europe/London")], start=1
    ):
        with site.platform(), surrounded(site, host, zone), reader(site, number):
            wait_for(f"record {number} is delivered", partial(has, site, number))
        site.reader_link.unlink(missing_ok=True)
    assert "E3122" not in site.log(), "a renamed machine is the same machine"
    beijing = datetime.now(timezone.utc) + timedelta(hours=8)
    for line in ledger(site):
        told = datetime.fromisoformat(str(line["verifyTime"])).replace(tzinfo=timezone.utc)
        assert abs(beijing - told) < timedelta(minutes=15), "Beijing's time, whatever the zone"
    assert site.stats()["difference"] == 0
