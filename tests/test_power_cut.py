"""Power cuts at any moment of a kiosk's life, enumerated offline; and the proof that the harness sees bugs.

Reading: `tests/power_cut/__init__.py`. The table of mutants stands in docs/outbox.md.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
from old_outboxes import write_version_1, write_version_3
from outbox_support import SEAL_KEY
from power_cut.cuts import journal
from power_cut.judge import Judged, Life, Mark, judged
from power_cut.mutants import MUTANTS

from agent import keys

HERE = Path(__file__).parent
LIVES, CUTS_A_LIFE, STEPS = 4, 2600, 140
#: The long run's cuts in all; `CUTS=20000 make soak` for a shorter one.
SOAK_CUTS = int(os.environ.get("CUTS", "1000000"))


def begun_with_1(folder: Path) -> list[Mark]:
    """Begin with records that wait."""
    return [("put", record) for record in write_version_1(folder)]


def begun_with_3(folder: Path) -> list[Mark]:
    """Begin with records closed for each reason, told apart by sentences."""
    ids = write_version_3(folder)
    closed = [(reason, ids[reason]) for reason in ("superseded", "moved", "given_up")]
    return [
        *(("put", record) for record in ids.values()),
        *(("discarded", record) for _, record in closed),
        *(("closed as", record, reason) for reason, record in closed),
    ]


#: Every life begins with the file of an earlier version; each says what that file promises.
BEGINNINGS: dict[int, Callable[[Path], list[Mark]]] = {1: begun_with_1, 3: begun_with_3}

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


@pytest.fixture(scope="module")
def judges() -> Iterator[Executor]:
    """Processes of their own, one a core: what makes a judge quick is not for anybody else."""
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=logging.disable
    ) as pool:
        pool.submit(int).result()  # its threads run from now on, whoever counts them
        yield pool


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the cuts are enumerated, nothing of them need be durable."""
    memory = Path("/dev/shm")
    folder = memory / f"power-cut-{os.getpid()}-{tmp_path.name}" if memory.is_dir() else tmp_path / "scratch"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def lived(
    shim: Path, folder: Path, seed: int, version: int, steps: int = STEPS, mutant: str | None = None
) -> Life:
    """Let one kiosk live under the journal."""
    state, base, log = folder / "state", folder / "base", folder / "log"
    state.mkdir(mode=0o700, parents=True)
    begun = BEGINNINGS[version](state)
    keys.write_key(state / "keys" / "seal.key", SEAL_KEY.hex().encode())
    shutil.copytree(state, base)
    env = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "CUT_DIR": str(state),
        "CUT_LOG": str(log),
        "PYTHONPATH": str(HERE),
    }
    told = [str(state), str(seed), str(steps), *([mutant] if mutant else [])]
    command = [sys.executable, "-m", "power_cut.workload", *told]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return Life(log, base, state, begun)


def one_life(seed: int, *, shim: Path, scratch: Path, cuts: int, steps: int = STEPS) -> Judged:
    """Let one kiosk live, and cut its life that often; every second one begins with a file of version 3."""
    folder = scratch / f"life-{seed}"
    found = judged(lived(shim, folder, seed, (1, 3)[seed % 2], steps), cuts, seed, folder)
    shutil.rmtree(folder)
    return Judged(found.cuts, found.images, [f"life {seed}: {fault}" for fault in found.faults])


def told(name: str, parts: Iterable[Judged]) -> Judged:
    """Sum up and say, each time that a life more is judged, how far it is: the long run takes an hour."""
    whole = Judged.together(())
    for part in parts:
        whole = Judged.together((whole, part))
        print(f"{name}: {whole.cuts} cuts, {whole.images} images, {len(whole.faults)} faults", flush=True)
    return whole


@needs_compiler
@pytest.mark.timeout(900)
def test_ten_thousand_power_cuts_lose_and_alter_nothing(shim: Path, scratch: Path, judges: Executor) -> None:
    life = partial(one_life, shim=shim, scratch=scratch, cuts=CUTS_A_LIFE)
    found = told("ordinary", judges.map(life, range(LIVES)))
    assert found.faults == []
    assert found.cuts == LIVES * CUTS_A_LIFE
    assert found.cuts / 2 < found.images <= found.cuts


@needs_compiler
@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_a_million_power_cuts_lose_and_alter_nothing(shim: Path, scratch: Path, judges: Executor) -> None:
    # Many lives rather than many cuts of one: a life differs from the next, its cuts resemble each other.
    lives = max(LIVES, SOAK_CUTS // 10_000)
    life = partial(one_life, shim=shim, scratch=scratch, cuts=SOAK_CUTS // lives)
    assert told("soak", judges.map(life, range(1000, 1000 + lives))).faults == []


@needs_compiler
def test_a_power_cut_anywhere_in_a_migration_leaves_one_version_whole(
    shim: Path, scratch: Path, judges: Executor
) -> None:
    # Nothing but the first start and its end: some hundred calls, each of them cut several times.
    life = partial(one_life, shim=shim, scratch=scratch, cuts=800, steps=0)
    assert told("migration", judges.map(life, (1, 2))).faults == []


@needs_compiler
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_harness_catches_each_bug_that_is_put_back(
    shim: Path, scratch: Path, judges: Executor, mutant: str
) -> None:
    bug = MUTANTS[mutant]
    life = lived(shim, scratch / "life", 1, bug.begins_with, bug.steps, mutant)
    found = (judges.submit(judged, life, 120, seed, scratch / "cuts").result() for seed in range(6))
    assert any(part.faults for part in found)


@needs_compiler
def test_the_journal_holds_what_a_life_does_to_the_disk(shim: Path, scratch: Path) -> None:
    life = lived(shim, scratch, 2, 1)
    ops = journal(life.log)
    touched = {(op.kind, Path(op.path).name.partition(".")[0]) for op in ops}
    assert {("w", "outbox"), ("s", "outbox"), ("t", "outbox"), ("c", "ballast"), ("u", "ballast")} <= touched
    assert {("r", "seal"), ("r", "ballast"), ("w", "audit"), ("s", "keys")} <= touched
    assert any(op.kind == "r" and op.other.endswith("outbox.db.before-4") for op in ops)
    assert any(op.kind == "s" and op.path == str(life.state_dir) for op in ops)
