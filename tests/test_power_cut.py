"""Power cuts at any moment of a kiosk's life, enumerated offline; and the proof that the harness sees bugs.

Reading: `tests/power_cut/__init__.py`. The table of mutants stands in docs/outbox.md.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from outbox_support import SEAL_KEY, write_version_1
from power_cut.cuts import journal
from power_cut.judge import judged
from power_cut.mutants import MUTANTS

from agent import keys

HERE = Path(__file__).parent
LIVES, CUTS_A_LIFE = 4, 2600
#: The long run's cuts in all; `CUTS=20000 make soak` for a shorter one.
SOAK_CUTS = int(os.environ.get("CUTS", "1000000"))

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform != "linux", reason="the journal needs a C compiler"
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the journal."""
    built = tmp_path_factory.mktemp("journal") / "journal.so"
    source = HERE / "power_cut" / "journal.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", built, source, "-ldl"], check=True)
    return built


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the cuts are enumerated, nothing of them need be durable."""
    memory = Path("/dev/shm")
    folder = memory / f"power-cut-{os.getpid()}-{tmp_path.name}" if memory.is_dir() else tmp_path / "scratch"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def lived(shim: Path, folder: Path, seed: int, mutant: str | None = None) -> tuple[Path, Path, Path]:
    """Let one kiosk live under the journal. Return the journal, the first state, and where it lived."""
    state, base, log = folder / f"state-{seed}", folder / f"base-{seed}", folder / f"log-{seed}"
    state.mkdir(mode=0o700)
    write_version_1(state, 3)
    keys.write_key(state / "keys" / "seal.key", SEAL_KEY.hex().encode())
    shutil.copytree(state, base)
    env = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "CUT_DIR": str(state),
        "CUT_LOG": str(log),
        "PYTHONPATH": str(HERE),
    }
    command = [
        sys.executable,
        "-m",
        "power_cut.workload",
        str(state),
        str(seed),
        *([mutant] if mutant else []),
    ]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return log, base, state


def _judged(log: Path, base: Path, state: Path, cuts: int, seed: int, scratch: Path) -> list[str]:
    logging.disable(logging.CRITICAL)
    return judged(log, base, state, cuts, seed, scratch)


def faults_of_lives(shim: Path, folder: Path, seeds: range, cuts: int) -> list[str]:
    """Let kiosks live, then cut each life that often, on every core. Return what was found wrong."""
    runs = [(seed, lived(shim, folder, seed)) for seed in seeds]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        answers = [pool.submit(_judged, *run, cuts, seed, folder / f"cuts-{seed}") for seed, run in runs]
        return [fault for answer in answers for fault in answer.result()]


@needs_compiler
@pytest.mark.timeout(900)
def test_ten_thousand_power_cuts_lose_and_alter_nothing(shim: Path, scratch: Path) -> None:
    assert faults_of_lives(shim, scratch, range(LIVES), CUTS_A_LIFE) == []


@needs_compiler
@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_a_million_power_cuts_lose_and_alter_nothing(shim: Path, scratch: Path) -> None:
    # Many lives rather than many cuts of one: a life differs from the next, its cuts resemble each other.
    lives = max(LIVES, SOAK_CUTS // 10_000)
    for first in range(0, lives, LIVES):
        folder = scratch / str(first)
        folder.mkdir()
        assert (
            faults_of_lives(shim, folder, range(1000 + first, 1000 + first + LIVES), SOAK_CUTS // lives) == []
        )
        shutil.rmtree(folder)


@needs_compiler
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_harness_catches_each_bug_that_is_put_back(shim: Path, scratch: Path, mutant: str) -> None:
    log, base, state = lived(shim, scratch, 1, mutant)
    faults: list[str] = []
    for seed in range(6):
        faults = _judged(log, base, state, 120, seed, scratch / "cuts")
        if faults:
            break
    assert faults


@needs_compiler
def test_the_journal_holds_what_a_life_does_to_the_disk(shim: Path, scratch: Path) -> None:
    log, _, state = lived(shim, scratch, 2)
    ops = journal(log)
    touched = {(op.kind, Path(op.path).name.partition(".")[0]) for op in ops}
    assert {("w", "outbox"), ("s", "outbox"), ("t", "outbox"), ("c", "ballast"), ("u", "ballast")} <= touched
    assert {("r", "seal"), ("r", "ballast"), ("w", "audit"), ("s", "keys")} <= touched
    assert any(op.kind == "r" and op.other.endswith("outbox.db.before-4") for op in ops)
    assert any(op.kind == "s" and op.path == str(state) for op in ops)
