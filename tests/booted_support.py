"""A Debian system, really booted: built once with mmdebstrap, kept in the cache, started by systemd-nspawn.

The system has no network but its own loopback. What needs root or is forbidden in a sandbox is found out by
booting, not guessed; `why_not` says what is missing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PATIENCE_S = 90.0
#: Without what the packages' dependencies would have to be fetched for: the systems have no network.
PACKAGES = ("systemd", "systemd-sysv", "udev", "python3", "libusb-1.0-0", "kmod")
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "apt-get", "dpkg-deb")
#: A test's system needs neither manuals nor translations, nor to survive a power cut while it is built.
OPTIONS = (
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/kiosk-agent*",
    "--dpkgopt=force-unsafe-io",
)


def cache() -> Path:
    """Return the folder outside the repository in which systems and wheels are kept."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kiosk-agent"
    place.mkdir(parents=True, exist_ok=True)
    return place


@functools.cache
def why_not() -> str | None:
    """Return why no system can be booted here, None when one can."""
    if os.geteuid() != 0:
        return "booting a system needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def root(release: str) -> Path:
    """Return the archive of a Debian root of that release, built when it is not in the cache yet."""
    what = hashlib.sha256(repr((PACKAGES, OPTIONS)).encode()).hexdigest()[:8]
    archive = cache() / f"root-{release}-{what}.tar"
    if not archive.exists():
        draft = archive.with_suffix(f".{os.getpid()}.tar")
        command = ["mmdebstrap", "--variant=apt", f"--include={','.join(PACKAGES)}", *OPTIONS]
        command += [release, str(draft), *_sources(release)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr[-2000:]
        draft.rename(archive)
    return archive


def _sources(release: str) -> list[str]:
    """Return a source line for `release`, from wherever this machine's apt gets its Debian."""
    fields = ("$(REPO_URI)", "$(CODENAME)", "$(ORIGIN)", "$(COMPONENT)")
    command = ["apt-get", "indextargets", "--format", " ".join(fields), "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        uri, codename, origin, component = line.split(" ")
        if origin == "Debian" and component == "main" and "-" not in codename:
            return [f"deb {uri} {release} main"]
    return []


class Machine:
    """One booted system. Its files are a copy of its own, gone with it."""

    def __init__(self, release: str, folder: Path) -> None:
        self.root = folder
        self._release = release
        self._process: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def unpack(self) -> None:
        """Lay out the files."""
        self.root.mkdir()
        subprocess.run(["tar", "-C", str(self.root), "-xf", str(root(self._release))], check=True)

    def boot(self, *options: str) -> None:
        """Start it and wait until its systemd has nothing more to do. AssertionError when it does not come up."""
        log = (self.root.parent / "console.log").open("ab")
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network"]
        command += ["--console=read-only", "--directory", str(self.root), *options, "--boot"]
        env = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if self._release != "bookworm" else None
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        log.close()
        deadline = time.monotonic() + PATIENCE_S
        while self._state() not in ("running", "degraded"):
            assert self._process.poll() is None, f"the system went down: {self.console()}"
            assert time.monotonic() < deadline, f"the system does not come up: {self.console()}"
            time.sleep(0.05)

    def console(self) -> str:
        """Return the end of what the system wrote on its console."""
        return (self.root.parent / "console.log").read_text("utf-8", errors="replace")[-2000:]

    def _state(self) -> str:
        assert self._process is not None
        if not self.leader:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
            self.leader = int(children.split()[0]) if children else 0
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() if self.leader else ""

    def run(
        self, *command: str, check: bool = True, feed: str | None = None, lang: str = "C.UTF-8"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in there, as root. AssertionError with what it printed when it fails and must not."""
        enter = ["nsenter", "--target", str(self.leader), "--all", "--wdns=/", "env", "-i", f"LANG={lang}"]
        enter += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"]
        done = subprocess.run(
            [*enter, *command],
            capture_output=True,
            text=True,
            check=False,
            input=feed,
            timeout=PATIENCE_S * 2,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def show(self, name: str, unit: str = "kiosk-agent") -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def journal(self, *options: str) -> str:
        """Return the unit's journal."""
        return self.run("journalctl", "--no-pager", "-u", "kiosk-agent", *options, check=False).stdout

    def power_cut(self) -> None:
        """End it at once, as a pulled plug does."""
        assert self._process is not None
        if self.leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
        self._process.wait(PATIENCE_S)
        self._process, self.leader = None, 0

    def close(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            self.power_cut()
        shutil.rmtree(self.root, ignore_errors=True)


@contextlib.contextmanager
def machine(release: str, folder: Path, options: Sequence[str] = ()) -> Iterator[Machine]:
    """Boot a fresh system for the length of a block."""
    booted = Machine(release, folder / "root")
    try:
        booted.unpack()
        booted.boot(*options)
        yield booted
    finally:
        booted.close()
