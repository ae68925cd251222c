"""A Debian or Ubuntu, really booted: built once with mmdebstrap, kept in the cache, started by systemd-nspawn.

Each system is an overlay: its own files in memory above a root that nobody changes. It has no network but its own
loopback. Where systems cannot be booted - no root, tools that are missing, a sandbox that forbids it - `why_not`
says why.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import pty
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import codes_seen

#: A step that takes longer than this on a shared machine is hung.
PATIENCE_S = 180.0
#: The packages' dependencies among them: the systems cannot fetch any.
PACKAGES = ("systemd", "systemd-sysv", "udev", "python3", "libusb-1.0-0", "kmod")
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "apt-get", "dpkg-deb")
#: A test's system needs neither manuals nor translations, nor to survive a power cut while it is built.
OPTIONS = (
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/kiosk-agent*",
    "--dpkgopt=force-unsafe-io",
)
MEMORY = Path("/dev/shm")
#: Where control groups of systemd's kind are, on a machine of either version.
HIERARCHIES = tuple(map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup")))
#: Enters groups, then becomes what follows.
ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'
#: The word of a package's version -> what mmdebstrap calls that release.
SUITES = {"debian12": "bookworm", "debian13": "trixie", "ubuntu2204": "jammy", "ubuntu2404": "noble"}
#: The Ubuntus - mmdebstrap knows where they come from - and what building one takes besides: useradd, which every
#: installed one has; for 22.04 a link from /lib to /usr/lib, which its installer makes and no package.
UBUNTUS = {
    "jammy": ("--include=passwd", "--setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh"),
    "noble": ("--include=passwd",),
}
#: Which release the package is built for and installed on. All but the first need their own Python: docs/testing.md.
RELEASE = os.environ.get("TEST_RELEASE", "debian12")
SUITE = SUITES[RELEASE]


@contextlib.contextmanager
def quick_folder() -> Iterator[Path]:
    """Give a folder in memory where there is room for a system, else one on the disk."""
    roomy = MEMORY.is_mount() and shutil.disk_usage(MEMORY).free > 4e9
    with tempfile.TemporaryDirectory(prefix="kiosk-agent-", dir=MEMORY if roomy else None) as folder:
        yield Path(folder)


def cache() -> Path:
    """Return the folder outside the repository in which roots and downloads are kept."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kiosk-agent"
    place.mkdir(parents=True, exist_ok=True)
    return place


@functools.cache
def why_not() -> str | None:
    """Return why no system can be booted here, None when one can. Found out by booting one."""
    if os.geteuid() != 0:
        return "booting a system needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        with machine(SUITE):
            return None
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        return f"a system does not boot here: {str(error).strip()[-300:]}"


def root(release: str) -> Path:
    """Return the root of that release, built when it is not in the cache yet."""
    options = (*OPTIONS, *UBUNTUS.get(release, ()))
    what = hashlib.sha256(repr((PACKAGES, options)).encode()).hexdigest()[:8]
    folder = cache() / f"root-{release}-{what}"
    with (cache() / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_suffix(".new")
            shutil.rmtree(draft, ignore_errors=True)
            command = ["mmdebstrap", "--variant=apt", "--format=directory", *options]
            command += [f"--include={','.join(PACKAGES)}", release, str(draft), *_sources(release)]
            built = subprocess.run(command, capture_output=True, text=True, check=False)
            assert built.returncode == 0, built.stderr[-2000:]
            draft.rename(folder)
    return folder


def _sources(release: str) -> list[str]:
    """Return a source line for `release`, from wherever this machine's apt gets its Debian; none for an Ubuntu."""
    if release in UBUNTUS:
        return []
    fields = ("$(REPO_URI)", "$(CODENAME)", "$(ORIGIN)", "$(COMPONENT)")
    command = ["apt-get", "indextargets", "--format", " ".join(fields), "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        uri, codename, origin, component = line.split(" ")
        if origin == "Debian" and component == "main" and "-" not in codename:
            return [f"deb {uri} {release} main"]
    return []


class Machine:
    """One system, its files laid out; booted by `boot`. `layers` are what lies above the release's root."""

    def __init__(self, release: str, folder: Path, layers: Sequence[Path] = ()) -> None:
        self.root, self.upper = folder / "root", folder / "upper"
        self._console = folder / "console.log"
        self._release = release
        self._process: subprocess.Popen[bytes] | None = None
        # Of its own: without them systems side by side share their services' groups, and end each other's processes.
        mounted = (place for place in HIERARCHIES if (place / "cgroup.procs").exists())
        self._groups = [place / f"booted-{folder.name}" for place in mounted]
        for path in (self.root, self.upper, folder / "work"):
            path.mkdir()
        below = ":".join(str(layer) for layer in [*layers, root(release)])
        options = f"lowerdir={below},upperdir={self.upper},workdir={folder / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(self.root)], check=True)

    def boot(self, *options: str) -> None:
        """Start it and wait until its systemd has nothing more to do. AssertionError when it does not come up."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network"]
        command += ["--console=read-only", "--directory", str(self.root), *options, "--boot"]
        # systemd 256 and later start on a cgroup v2 hierarchy alone.
        env = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if self._release != "bookworm" else None
        for group in self._groups:
            group.mkdir(exist_ok=True)
        command = ["sh", "-c", ENTER, "sh", *map(str, self._groups), "--", *command]
        with self._console.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )
        deadline = time.monotonic() + PATIENCE_S
        while self.run("systemctl", "is-system-running", check=False).stdout.strip() not in {
            "running",
            "degraded",
        }:
            assert self._process.poll() is None, f"the system went down: {self.console()}"
            assert time.monotonic() < deadline, f"the system does not come up: {self.console()}"
            time.sleep(0.05)

    def console(self) -> str:
        """Return the end of what the system wrote on its console."""
        return self._console.read_text("utf-8", errors="replace")[-2000:]

    @property
    def leader(self) -> int:
        """Return the process id, out here, of the system's first process; 0 when there is none."""
        if self._process is None:
            return 0
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        found = children.read_text().split() if children.exists() else []
        return int(found[0]) if found else 0

    def _entered(self, command: Sequence[str]) -> list[str]:
        enter = ["nsenter", "--target", str(self.leader), "--all", "--wdns=/", "env", "-i", "LANG=C.UTF-8"]
        enter += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"]
        return [*enter, *command]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in there, as root. AssertionError with what it printed when it fails and must not."""
        done = subprocess.run(
            self._entered(command), capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        if "explain" not in command:  # which tells of codes that nobody met
            codes_seen.saw(done.stdout, done.stderr)
        if check:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def type(self, command: Sequence[str], answers: Sequence[str]) -> str:
        """Run a command at a terminal, typing an answer whenever it asks. Return what the terminal showed."""
        ours, theirs = pty.openpty()
        shown = b""
        with subprocess.Popen(self._entered(command), stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            waiting = [answer.encode() + b"\n" for answer in answers]
            with contextlib.suppress(OSError):  # EIO: the other end is gone
                while data := os.read(ours, 4096):
                    shown += data
                    if waiting and shown.endswith(b": "):
                        os.write(ours, waiting.pop(0))
            assert process.wait(PATIENCE_S) == 0, shown.decode()
        os.close(ours)
        codes_seen.saw(shown.decode())
        return shown.decode()

    def show(self, name: str, unit: str = "kiosk-agent") -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def journal(self, *options: str) -> str:
        """Return the agent's journal."""
        return self.run("journalctl", "--no-pager", "-u", "kiosk-agent", *options, check=False).stdout

    def _met(self) -> None:
        """Hand the recorder what the agent told, read by a test or not; a system that is broken tells nothing."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.journal("--output=cat", "--output-fields=AGENT_CODE")

    def power_off(self) -> None:
        """Bring it down in order."""
        assert self._process is not None
        self._met()
        self.run("systemctl", "poweroff", check=False)
        self._process.wait(PATIENCE_S)
        self._process = None

    def power_cut(self) -> None:
        """End every process at once, as a pulled plug does; what was not synced yet is not lost here."""
        assert self._process is not None
        self._met()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.leader or self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        self._process = None

    def close(self) -> None:
        """End it; its files can be seen no longer, but lie in `upper`."""
        if self._process is not None:
            self.power_cut()
        for group in self._groups:
            for path, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):  # the last of its processes is still going
                    Path(path).rmdir()
        subprocess.run(["umount", "--lazy", str(self.root)], check=True)


@contextlib.contextmanager
def machine(release: str, layers: Sequence[Path] = ()) -> Iterator[Machine]:
    """Boot a fresh system for the length of a block."""
    with quick_folder() as folder:
        booted = Machine(release, folder, layers)
        try:
            booted.boot()
            yield booted
        finally:
            booted.close()
