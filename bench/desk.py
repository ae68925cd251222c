"""`python -m bench --desk`: what the desk costs - processor and memory - and what a woman waits for it.

The engine on one thread, by process time; the whole daemon with its vision process, by the kernel's account.
The camera is a picture file at fifteen frames a second, the reader a pty: their drivers' share is not in it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from agent import images
from agent.config.schema import Face
from agent.face import chip
from agent.face.engine import Engine, compare, load
from agent.face.score import threshold_of
from agent.simulate import portraits, site

VERDICT_MS, LOOP_SHARE, IDLE_SHARE = 200.0, 0.15, 0.01
DAEMON_MB, VISION_MB = 75.0, 200.0
LOOKS_A_SECOND = 5
REPEATS = 30
#: How long the daemon is watched.
WATCHED_S = 20.0
#: What a camera delivers while somebody sits before it.
SIZES = ((1280, 720), (1920, 1080))


def run() -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    engine = load(Face())
    if engine is None:
        raise SystemExit("no face engine")
    for line in chain(_engine(engine), _daemon(), _faces()):
        print(line, flush=True)


def _engine(engine: Engine) -> Iterator[str]:
    frame, portrait = portraits.live("collins"), images.decode(portraits.path("collins").read_bytes())
    face = engine.look(portrait).face
    if face is None:
        raise SystemExit("no face on the portrait")
    card = chip.simulated(portrait, 2000, face.landmarks)
    verdict = _median(lambda: _compared(engine, card, frame))
    yield _verdict("card photo and 3 frames to verdict, CPU ms", verdict, VERDICT_MS)
    small = cv2.resize(frame, (640, 360), interpolation=cv2.INTER_AREA)
    look = _median(lambda: engine.look(np.asarray(small, np.uint8)))
    share = look * LOOKS_A_SECOND / 10
    yield f"    one look at 640x360: {look:.1f} CPU ms; {LOOKS_A_SECOND} a second: {share:.1f} % of a core"
    yield f"    one look at 1280x720: {_median(lambda: engine.look(frame)):.1f} CPU ms"
    yield f"    one embedding: {_median(lambda: engine.embed(portrait, face)):.1f} CPU ms"


def _compared(engine: Engine, card: Any, frame: Any) -> None:
    known = engine.card(card)
    live = []
    for _ in range(3):
        face = engine.look(frame).face
        if face is not None:
            live.append(engine.embed(frame, face))
    if known is None or len(live) != 3:
        raise SystemExit("a face was not found")
    compare(engine, known, live, threshold_of(Face()))


def _median(work: Callable[[], object]) -> float:
    work()
    spent = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        spent.append((time.process_time() - started) * 1000)
    return statistics.median(spent)


def _daemon() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench-desk-") as name:
        folder = Path(name)
        # Nobody before the camera: every attempt looks until its time is over, which costs the most.
        cv2.imwrite(str(folder / "wall.png"), np.full((720, 1280, 3), 120, np.uint8))
        for what, loop_s in (("nobody there", None), ("a card every ten seconds", 10.0)):
            with _running(folder / what.replace(" ", "-"), folder / "wall.png", loop_s) as daemon:
                time.sleep(12)
                (vision,) = [child for child in daemon.children() if "agent.vision.child" in child.cmdline()]
                shares = _shares([daemon, vision], WATCHED_S)
                limit = IDLE_SHARE if loop_s is None else LOOP_SHARE
                yield _verdict(f"{what}: share of a core, vision process", shares[1], limit)
                yield _verdict(f"{what}: share of a core, daemon", shares[0], limit)
                yield _verdict(f"{what}: resident MB, daemon", _resident(daemon), DAEMON_MB)
                yield _verdict(f"{what}: resident MB, vision process", _resident(vision), VISION_MB)


def _faces() -> Iterator[str]:
    """Memory with somebody before the camera whom no gate lets pass: every look is kept as long as may be."""
    with tempfile.TemporaryDirectory(prefix="bench-desk-") as name:
        for width, height in SIZES:
            camera = Path(name, f"{height}.avi")
            _film(camera, width, height)
            with _running(Path(name, str(height)), camera, 10.0) as daemon:
                time.sleep(12)
                (vision,) = [child for child in daemon.children() if "agent.vision.child" in child.cmdline()]
                shares, most = _shares([vision], WATCHED_S), _most_resident(vision, WATCHED_S)
                what = f"a blurred face at {width}x{height}"
                yield _verdict(f"{what}: share of a core, vision process", shares[0], LOOP_SHARE)
                yield _verdict(f"{what}: most MB resident, vision process", most, VISION_MB)


def _film(path: Path, width: int, height: int) -> None:
    """Film a blurred face for two seconds. Of a still the camera hands out one and the same array."""
    seen = cv2.resize(portraits.live("collins"), (width, height), interpolation=cv2.INTER_AREA)
    frame = cv2.GaussianBlur(seen, (0, 0), height / 120)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (width, height))
    for _ in range(30):
        writer.write(frame)
    writer.release()


@contextmanager
def _running(folder: Path, camera: Path, loop_s: float | None) -> Iterator[psutil.Process]:
    """Run a daemon beside a simulated reader, each in a process of its own."""
    link = folder / "reader"
    credentials = site.Credentials.made_up()
    config = site.build(
        folder, credentials, base_url="http://127.0.0.1:9", reader_port=str(link), camera=str(camera)
    )
    loop = (
        ["--cards", "1000", "--loop", f"{loop_s:g}"]
        if loop_s is not None
        else ["--cards", "1", "--loop", "86400"]
    )
    commands = [["simulate", "reader", "--port-link", str(link), *loop], ["run", "--config", str(config)]]
    processes = []
    try:
        for command in commands:
            quiet = subprocess.DEVNULL
            full = [sys.executable, "-m", "agent", *command]
            processes.append(subprocess.Popen(full, stdout=quiet, stderr=quiet))
            time.sleep(2)
        yield psutil.Process(processes[1].pid)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(10)


def _shares(processes: list[psutil.Process], seconds: float) -> list[float]:
    before = [sum(process.cpu_times()[:2]) for process in processes]
    started = time.monotonic()
    time.sleep(seconds)
    spent = time.monotonic() - started
    return [(sum(p.cpu_times()[:2]) - b) / spent for p, b in zip(processes, before, strict=True)]


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def _most_resident(process: psutil.Process, seconds: float) -> float:
    end, most = time.monotonic() + seconds, 0.0
    while time.monotonic() < end:
        most = max(most, _resident(process))
        time.sleep(0.05)
    return most


def _verdict(what: str, found: float, limit: float) -> str:
    return f"{'yes' if found <= limit else 'NO '} {what}: {found:.3g} (<= {limit:g})"
