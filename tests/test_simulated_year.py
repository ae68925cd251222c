"""A year at the desk: memory stays flat, the file shrinks back after every outage, the balance holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_year import outages

MIB = 2**20


def lived(folder: Path, days: int, per_day: int, keep_days: int) -> list[dict[str, int]]:
    """Return every evening of a life in fast motion."""
    folder.mkdir()
    script = Path(__file__).parent / "simulated_year.py"
    run = subprocess.run(
        [sys.executable, str(script), str(folder), str(days), str(per_day), str(keep_days)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def flat(evenings: list[dict[str, int]], per_day: int, keep_days: int) -> None:
    """Hold the evenings against what a site may expect."""
    days = len(evenings)
    assert {evening["difference"] for evening in evenings} == {0}
    last = evenings[-1]
    assert (last["accepted"], last["delivered"], last["waiting"]) == (days * per_day, days * per_day, 0)
    for outage in outages(days):
        peak, after = evenings[outage[-1]], evenings[min(outage[-1] + 3, days - 1)]
        assert peak["waiting"] == per_day * len(outage), "an outage that held nobody up proves nothing"
        assert after["waiting"] == 0
        # What an outage kept is gone from the file; what receipts need is all that may have been added.
        receipts = 1500 * (after["rows"] - evenings[outage[0] - 1]["rows"])
        assert after["file"] < evenings[outage[0] - 1]["file"] + max(receipts, 0) + 4 * MIB, (outage, after)
    assert last["rows"] <= per_day * (keep_days + 2)
    settled = [evening for evening in evenings if evening["day"] > keep_days and not evening["waiting"]]
    sizes = [evening["file"] for evening in settled]
    assert sizes[-1] < min(sizes) + 0.2 * min(sizes) + 4 * MIB
    early = max(evening["rss"] for evening in evenings[: days // 6])
    assert max(evening["rss"] for evening in evenings) < early + 24 * MIB


@pytest.mark.timeout(600)
def test_seventy_days_leave_memory_and_file_as_they_were(tmp_path: Path) -> None:
    flat(lived(tmp_path / "site", days=70, per_day=60, keep_days=20), 60, 20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_year_of_five_hundred_a_day_leaves_memory_and_file_as_they_were(tmp_path: Path) -> None:
    flat(lived(tmp_path / "site", days=365, per_day=500, keep_days=200), 500, 200)
