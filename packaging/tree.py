"""Make the tree of one version: a virtual environment out of a folder of wheels, without a network.

    python tree.py TREE --version V --wheels DIR --lock FILE [--lock FILE] --weights DIR [--home DIR]

Used by the package's build, which makes the tree for a machine elsewhere, and by install.sh, which makes
it where it stays. Runs under an interpreter of the minor version that the tree is for (a wheel's
conditions are judged by the interpreter that reads them) and needs nothing but the standard library:
pip itself comes as one of the wheels.

A tree may be moved: it holds no path but that of an interpreter, and nothing in it is started by a script's
first line.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

#: Debian's name of an architecture -> the machine as Python and wheels call it.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
#: What an ELF file calls those machines, at byte 18; little-endian, as both are.
ELF, ELF_MACHINES = b"\x7fELF", {62: "x86_64", 183: "aarch64"}
#: The oldest glibc that a tree must run with, and that of the oldest wheels there are.
GLIBC, OLDEST_GLIBC = 28, 5
#: The day of SQLite 3.37.0, the oldest that may open the records (agent/engine.py).
SQLITE = "2021-11-27"
#: Names that wheels carried before they named the glibc itself.
LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
MANIFEST = "SHA256SUMS"
#: The mark of a virtual environment names its interpreter's folder by a whole path. Where that lies in the
#: tree, it is filled in when the tree is given its place (versions.sh): the one file without a checksum.
MARK, HOME = "pyvenv.cfg", "@HOME@"


def platforms(machine: str) -> list[str]:
    """Return the names of the platforms whose wheels run there, the newest first."""
    names = []
    for minor in range(GLIBC, OLDEST_GLIBC - 1, -1):
        names.append(f"manylinux_2_{minor}_{machine}")
        if minor in LEGACY:
            names.append(f"{LEGACY[minor]}_{machine}")
    return names


def pip_options(machine: str) -> list[str]:
    """Return what makes pip choose wheels for that machine and this interpreter's minor version."""
    options = ["--only-binary", ":all:", "--require-hashes", "--disable-pip-version-check", "--quiet"]
    options += ["--implementation", "cp", "--python-version", "{}.{}".format(*sys.version_info)]
    for name in platforms(machine):
        options += ["--platform", name]
    return options


def make(
    tree: Path,
    version: str,
    wheels: Sequence[Path],
    locks: Sequence[Path],
    weights: Path,
    home: Path | None,
    machine: str,
) -> None:
    """Fill `tree`. `home` is the folder of the interpreter there; None: `tree/python` holds one already."""
    packages = tree / f"lib/python{_minor()}/site-packages"
    packages.mkdir(parents=True)
    _install(packages, wheels, locks, machine)
    _environment(tree, home)
    shutil.copytree(weights, tree / "share/kiosk-agent/weights", ignore=shutil.ignore_patterns(".*"))
    (tree / "VERSION").write_text(version + "\n", "ascii")
    for library in (tree / "lib", tree / "python/lib"):
        _compile(library)
    _readable(tree)
    write_manifest(tree)


def _minor() -> str:
    return "{}.{}".format(*sys.version_info)


def _install(packages: Path, wheels: Sequence[Path], locks: Sequence[Path], machine: str) -> None:
    """Install what the locks name, and nothing that is not there with the hash they give."""
    (pip,) = (wheel for folder in wheels for wheel in folder.glob("pip-*.whl"))
    command = [sys.executable, "-I", str(pip / "pip"), "install", *pip_options(machine)]
    command += ["--no-index", "--no-deps", "--no-compile", "--target", str(packages)]
    # Where it stays, root is who installs, and no settings that a site has for pip are meant for this.
    command += ["--isolated", "--root-user-action", "ignore"]
    for folder in wheels:
        command += ["--find-links", str(folder)]
    for lock in locks:
        command += ["--requirement", str(lock)]
    subprocess.run(command, check=True, env={**os.environ, "PIP_CONFIG_FILE": os.devnull})
    # Scripts would name the folder they were made in; the one command has a wrapper of its own.
    shutil.rmtree(packages / "bin", ignore_errors=True)


def _environment(tree: Path, home: Path | None) -> None:
    """Write what makes the tree a virtual environment: its mark, and the way to the interpreter."""
    (tree / "bin").mkdir()
    place = home or Path("../python/bin")
    for name in (f"python{_minor()}", "python3", "python"):
        (tree / "bin" / name).symlink_to(place / f"python{_minor()}")
    lines = [f"home = {home or HOME}", "include-system-site-packages = false", f"version = {_minor()}"]
    (tree / MARK).write_text("\n".join(lines) + "\n", "ascii")


def _compile(library: Path) -> None:
    """Compile every module once: the service may not write here, and its start is timed."""
    compileall.compile_dir(
        library,
        quiet=2,
        stripdir=str(library),
        workers=0,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _readable(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def write_manifest(tree: Path) -> None:
    """Write the SHA-256 of every file, in the form that `sha256sum --check` reads."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    files = [path for path in files if path != tree / MARK]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}" for path in files]
    (tree / MANIFEST).write_text("\n".join(lines) + "\n", "utf-8")


class Binary(NamedTuple):
    """What a compiled file asks of a machine."""

    machine: str
    glibc: int  #: the minor version of 2.x; 0 where it asks for none


def binaries(tree: Path) -> dict[str, Binary]:
    """Return every program and library in the tree, by its name there, and what it needs.

    The symbols' versions are looked for in the bytes: only a table of names holds them.
    """
    found = {}
    for path in sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()):
        with path.open("rb") as file:
            if file.read(4) != ELF:
                continue
        content = path.read_bytes()
        number = int.from_bytes(content[18:20], "little")
        minors = [int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)", content)]
        machine = ELF_MACHINES.get(number, f"ELF machine {number}")
        found[str(path.relative_to(tree))] = Binary(machine, max(minors, default=0))
    return found


def sqlite(tree: Path) -> str | None:
    """Return the day of the newest SQLite in the tree, as its own bytes name it; None: there is none."""
    days = []
    for name in binaries(tree):
        days += re.findall(rb"(20\d\d-\d\d-\d\d) \d\d:\d\d:\d\d [0-9a-f]{40}", (tree / name).read_bytes())
    return max(days).decode() if days else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one tree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--wheels", type=Path, action="append", required=True)
    parser.add_argument("--lock", type=Path, action="append", required=True, dest="locks")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="left out: TREE/python is the interpreter")
    parser.add_argument("--machine", default=platform.machine())
    make(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
