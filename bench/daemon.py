"""`python -m bench.daemon`: how soon the daemon is ready, what it costs while idle, what a command costs."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from agent.simulate import portraits, site
from drivers.simulator.reader import SimulatedReader

#: What is promised: seconds to readiness, times a Python that does nothing, share of one core, bytes.
MOST_READY_S, MOST_TIMES, MOST_CORE, MOST_BYTES = 2.0, 15.0, 0.01, 75e6
PROGRAM = [sys.executable, "-I", "-m", "agent"]
HUNG_S = 60.0


def main() -> None:
    """Measure, and print the table of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.daemon", description=__doc__)
    parser.add_argument("--idle-s", type=float, default=30.0, help="how long the idle daemon is watched")
    parser.add_argument("--times", type=int, default=9, help="starts of each kind; the quickest counts")
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n")
    print("| what | measured | promised | |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for row in _rows(Path(folder), options.idle_s, options.times):
            print("|", " | ".join(row), "|", flush=True)


def _rows(folder: Path, idle_s: float, times: int) -> Iterator[tuple[str, str, str, str]]:
    config = _site(folder)
    ready = min(_start(config) for _ in range(times))
    yield _row("start to ready, s", f"{ready:.2f}", f"{MOST_READY_S:.0f}", ready <= MOST_READY_S)
    nothing = _quickest([sys.executable, "-c", "pass"], times)
    yield "`python -c pass`, ms", f"{nothing * 1000:.0f}", "", ""
    verbs = {"--version": ["--version"], "status, daemon down": ["status", "--config", str(config)]}
    for name, arguments in verbs.items():
        yield _times(name, _quickest([*PROGRAM, *arguments], times), nothing)
    with _daemon(config) as (process, _):
        status = [*PROGRAM, *verbs["status, daemon down"]]
        yield _times("status, daemon up", _quickest(status, times), nothing)
        listing = [*PROGRAM, "outbox", "list", "--config", str(config)]
        yield _times("outbox list, daemon up", _quickest(listing, times), nothing)
        time.sleep(5.0)  # what starting left to be done
        for when in ("idle daemon", "the same after a day's questions"):
            core, resident = _idle(process, idle_s)
            yield _row(
                f"{when}, % of a core", f"{core * 100:.2f}", f"{MOST_CORE * 100:.0f}", core <= MOST_CORE
            )
            yield _row(
                f"{when}, MB", f"{resident / 1e6:.0f}", f"{MOST_BYTES / 1e6:.0f}", resident <= MOST_BYTES
            )
            _ask_a_days_questions(config)
        for child in process.children():
            core, resident = _idle(child, idle_s)
            yield "its vision process, % of a core and MB", f"{core * 100:.2f}, {resident / 1e6:.0f}", "", ""


def _ask_a_days_questions(config: Path) -> None:
    """Ask what page, monitoring and IT ask of a daemon."""
    address = yaml.safe_load(config.read_text("utf-8"))["console"]["listen"]
    for path in ("/", "/healthz", "/metrics", "/api/state") * 30:
        with (
            contextlib.suppress(urllib.error.HTTPError),
            urllib.request.urlopen(f"http://{address}{path}") as got,
        ):
            got.read()
    for verb in ("doctor", "status", "devices") * 2:
        command = [*PROGRAM, verb, "--config", str(config)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _row(what: str, found: str, limit: str, held: bool) -> tuple[str, str, str, str]:
    return what, found, f"<= {limit}", "yes" if held else "NO"


def _times(what: str, seconds: float, nothing: float) -> tuple[str, str, str, str]:
    found = seconds / nothing
    return _row(f"`{what}`, times `python -c pass`", f"{found:.1f}", f"{MOST_TIMES:.0f}", found <= MOST_TIMES)


def _site(folder: Path) -> Path:
    """Lay out a made-up site whose reader waits for a card: a desk at night."""
    import cv2

    camera = folder / "camera.png"
    cv2.imwrite(str(camera), portraits.live("collins"))
    return site.build(
        folder,
        site.Credentials.made_up(),
        base_url="http://127.0.0.1:9",
        reader_port=str(folder / "reader"),
        camera=str(camera),
        changes={"console": {"listen": f"127.0.0.1:{_free_port()}"}},
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _daemon(config: Path) -> Iterator[tuple[psutil.Process, float]]:
    """Run the daemon beside an empty reader. Gives it, ready, and the seconds that took."""
    place = config.parent / "notify"
    env = {**os.environ, "NOTIFY_SOCKET": str(place)}
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener,
        SimulatedReader([], []) as reader,
        (config.parent / "daemon.log").open("ab") as log,
    ):
        listener.bind(str(place))
        listener.settimeout(HUNG_S)
        reader.link(config.parent / "reader")
        started = time.perf_counter()
        process = subprocess.Popen(
            [*PROGRAM, "run", "--config", str(config)], env=env, stdout=log, stderr=log
        )
        try:
            while b"READY=1" not in listener.recv(4096):
                pass
            took = time.perf_counter() - started
            # Nobody listens from here on: a full queue would hold the daemon up.
            listener.close()
            yield psutil.Process(process.pid), took
        finally:
            process.terminate()
            process.wait(HUNG_S)
            place.unlink()


def _start(config: Path) -> float:
    with _daemon(config) as (_, seconds):
        return seconds


def _quickest(command: Sequence[str], times: int) -> float:
    """Return the seconds that a command takes when nobody else wants the core."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        took.append(time.perf_counter() - started)
    return min(took)


def _idle(process: psutil.Process, seconds: float) -> tuple[float, float]:
    """Return the share of one core that a process takes over `seconds`, and its resident bytes."""
    before, started = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return spent / (time.monotonic() - started), float(process.memory_info().rss)


if __name__ == "__main__":
    main()
