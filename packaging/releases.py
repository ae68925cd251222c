"""For which machine a package is, and what is known of the releases: refused is what could not run there."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import tree

#: Release -> the minor version of Python that it brings; None: too old, an interpreter comes along.
#: One that is not named here is taken at the caller's word.
RELEASES: dict[str, str | None] = {
    "debian11": None,
    "debian12": "3.11",
    "debian13": "3.13",
    "ubuntu2004": None,
    "ubuntu2204": "3.10",
    "ubuntu2404": "3.12",
    "uos20": None,
    "kylinv10": None,
}


@dataclass(frozen=True)
class Target:
    """What is built, and for which machine."""

    version: str
    release: str
    arch: str
    interpreter: Path | None  # None: `python_dist` comes along
    python_dist: Path | None
    sha256: str | None
    compression: str
    out: Path
    work: Path
    cache: Path

    @property
    def machine(self) -> str:
        """Return the architecture as wheels call it."""
        return tree.MACHINES[self.arch]

    @property
    def full_version(self) -> str:
        """Return the version, which names the release: what is built for another differs inside."""
        return f"{self.version}+{self.release}"


def parser(root: Path) -> argparse.ArgumentParser:
    """Return what reads the command line; folders are those of the repository `root`."""
    made = argparse.ArgumentParser(description="Build the Debian package and the offline bundle.")
    made.add_argument("--what", default="deb,bundle")
    made.add_argument("--release", default="debian12", help="a word of the version: ubuntu2204, uos20 ...")
    made.add_argument("--arch", default="amd64", choices=sorted(tree.MACHINES))
    made.add_argument("--interpreter", type=Path, help="the target's own, default /usr/bin/pythonX.Y")
    made.add_argument("--python-dist", type=Path, help="one to take along: a .tar with a folder python/")
    made.add_argument("--sha256", help="of --python-dist")
    made.add_argument("--compression", default="xz", choices=("xz", "zstd", "none"))
    made.add_argument("--out", type=Path, default=root / "dist")
    made.add_argument("--work", type=Path, default=root / "build", help="where the stages lie")
    made.add_argument("--cache", type=Path, default=root / "build", help="where downloads are kept")
    made.add_argument("--sign", metavar="KEY", help="sign SHA256SUMS with this key of gpg's")
    return made


def settle(options: argparse.Namespace) -> str | None:
    """Fill in the interpreter. Return why the package could not run there, None when it seems that it can."""
    if (options.python_dist is None) != (options.sha256 is None):
        return "--python-dist and --sha256 go together"
    ours = "{}.{}".format(*sys.version_info)
    if options.python_dist is not None:
        return None
    if options.interpreter is not None:
        # The tree's folders and compiled modules are those of the minor version that builds.
        named = options.interpreter.name
        return None if named == f"python{ours}" else f"{named}: this build runs under {ours}"
    theirs = RELEASES.get(options.release, ours)
    if theirs is None:
        return f"{options.release} brings too old a Python: --python-dist FILE --sha256 HEX takes one along"
    if theirs != ours:
        return (
            f"{options.release} brings Python {theirs}, this build runs under {ours}: make package "
            f'PYTHON=python{theirs} VENV=.venv-{theirs} ARGS="..."; or take one along with --python-dist'
        )
    options.interpreter = Path(f"/usr/bin/python{ours}")
    return None


def unfit(interpreter: Path) -> str | None:
    """Return why an interpreter cannot come along, None when nothing is known against it."""
    program = f"bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    if not (interpreter / program).exists():
        return f"it has no {program}, and this build runs under that version"
    day = tree.sqlite(interpreter)
    if day is None:
        print("the interpreter brings no SQLite: it will use the system's, which must be 3.37 or later")
    elif day < tree.SQLITE:
        return f"its SQLite is of {day}; 3.37 of {tree.SQLITE} or later is needed"
    return None
