"""A package's parts, without building one: what is refused, what a binary asks for, and the installer's endings."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parent.parent / "packaging"
VERSIONS = PACKAGING / "files/versions.sh"
OURS = "{}.{}".format(*sys.version_info)
#: All that a script may call here: what would change this machine is not among it.
HARMLESS = ("dirname", "uname", "basename", "readlink", "tr", "awk", "cat", "sh")


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PACKAGING))


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder to be the only one in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in HARMLESS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def stand_in(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def sh(commands: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(commands), "LANG": "C.UTF-8"}
    command = ["/bin/sh", "-euc", script, *arguments]
    return subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


# --- what is refused before anything is built -------------------------------------------------------


def asked(*arguments: str) -> tuple[str | None, Namespace]:
    import releases

    options = releases.parser(PACKAGING.parent).parse_args(arguments)
    return releases.settle(options), options


def test_a_release_with_another_python_is_refused_with_the_command_to_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import releases

    monkeypatch.setitem(releases.RELEASES, "ubuntu2204", "3.99")
    problem, options = asked("--release", "ubuntu2204", "--arch", "arm64")
    assert problem is not None
    assert f"brings Python 3.99, this build runs under {OURS}" in problem
    assert "PYTHON=python3.99 VENV=.venv-3.99" in problem
    assert options.interpreter is None
    monkeypatch.setitem(releases.RELEASES, "ubuntu2204", OURS)
    problem, options = asked("--release", "ubuntu2204")
    assert (problem, options.interpreter) == (None, Path(f"/usr/bin/python{OURS}"))


def test_a_release_with_too_old_a_python_wants_one_to_take_along() -> None:
    problem, _ = asked("--release", "uos20")
    assert problem is not None
    assert "too old a Python: --python-dist" in problem
    problem, options = asked("--release", "uos20", "--python-dist", "python.tar", "--sha256", "00")
    assert (problem, options.interpreter) == (None, None)
    assert asked("--python-dist", "python.tar")[0] is not None


def test_an_interpreter_of_another_minor_version_is_refused() -> None:
    assert asked("--interpreter", "/usr/bin/python3.99")[0] is not None
    assert asked("--release", "uos20", "--interpreter", f"/usr/local/bin/python{OURS}")[0] is None


def test_an_interpreter_with_too_old_a_sqlite_is_not_packed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import releases

    assert "has no bin/python" in str(releases.unfit(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / f"bin/python{OURS}").write_bytes(b"\x7fELF" + bytes(40))
    assert releases.unfit(tmp_path) is None
    assert "no SQLite" in capsys.readouterr().out
    library = tmp_path / "libsqlite3.so.0"
    stamp = "0\x002021-01-20 14:10:07 " + 64 * "a" + "\0"
    library.write_bytes(b"\x7fELF" + bytes(40) + stamp.encode())
    assert "of 2021-01-20" in str(releases.unfit(tmp_path))
    library.write_bytes(b"\x7fELF" + bytes(40) + stamp.replace("-01-20", "-11-27").encode())
    assert releases.unfit(tmp_path) is None


# --- the command -----------------------------------------------------------------------------------


def test_a_python_that_the_system_took_away_is_told_with_what_to_do(commands: Path, tmp_path: Path) -> None:
    version = tmp_path / "version"
    (version / "bin").mkdir(parents=True)
    python = version / "bin/python3"
    (commands / "readlink").unlink()
    stand_in(
        commands,
        "readlink",
        f'[ "$1" != -f ] || {{ echo {version}; exit; }}; {shutil.which("readlink")} "$1"',
    )
    wrapper = (PACKAGING / "files/kiosk-agent").read_text("utf-8")
    python.symlink_to("/usr/bin/python3.99")
    gone = sh(commands, wrapper)
    assert (gone.returncode, "本系统没有 /usr/bin/python3.99" in gone.stderr) == (1, True), gone.stderr
    python.unlink()
    # No version there, or no folder for one.
    assert (
        "请重新安装"
        in subprocess.run(
            ["/bin/sh", "-c", wrapper],
            env={"PATH": str(commands)},
            capture_output=True,
            text=True,
            check=False,
        ).stderr
    )
    stand_in(version / "bin", "python3", 'echo "$@"')
    assert sh(commands, wrapper, "kiosk-agent", "status").stdout == "-I -m agent status\n"


# --- what is inside ---------------------------------------------------------------------------------


def test_a_binary_tells_its_machine_and_the_glibc_it_needs(tmp_path: Path) -> None:
    import tree

    (tmp_path / "lib").mkdir()
    arm = b"\x7fELF\x02\x01\x01" + bytes(11) + (183).to_bytes(2, "little")
    (tmp_path / "lib/far.so").write_bytes(arm + b"\0GLIBC_2.17\0GLIBC_2.31\0GLIBC_PRIVATE\0")
    (tmp_path / "lib/none.so").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(40))
    (tmp_path / "lib/text.so").write_bytes(b"INPUT(libc.so.6)")
    shutil.copy(Path("/bin/true").resolve(), tmp_path / "here")
    found = tree.binaries(tmp_path)
    assert found["lib/far.so"] == tree.Binary("aarch64", 31)
    assert found["lib/none.so"].machine == "ELF machine 0"
    assert found["here"].machine == platform.machine()
    assert 2 < found["here"].glibc < 99
    assert "lib/text.so" not in found


def test_a_binary_of_another_machine_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import build
    import inventory
    import tree
    from releases import Target

    def made(place: Path, *_: object) -> None:
        place.mkdir()
        (place / "wrong.so").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + (62).to_bytes(2, "little"))

    monkeypatch.setattr(tree, "make", made)
    monkeypatch.setattr(build, "place_files", lambda _: None)
    monkeypatch.setattr(inventory, "write", lambda *_: None)
    target = Target(
        version="1",
        release="debian12",
        arch="amd64",
        interpreter=Path("/usr/bin/python3"),
        python_dist=None,
        sha256=None,
        compression="xz",
        out=tmp_path,
        work=tmp_path,
        cache=tmp_path,
    )
    parts = build.Parts(tmp_path, tmp_path, tmp_path / "own.lock", tmp_path)
    build.staged(target, parts)
    with pytest.raises(SystemExit, match=r"not for aarch64: wrong\.so"):
        build.staged(replace(target, arch="arm64"), parts)


def test_an_interpreter_that_comes_along_is_in_the_bill_with_its_version_and_licence(tmp_path: Path) -> None:
    import inventory

    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / f"bin/python{OURS}").write_bytes(b"\x7fELF\0" + f"{OURS}.7".encode() + b"\0")
    assert inventory._python_version(tmp_path) == f"{OURS}.7"
    (tmp_path / f"lib/libpython{OURS}.so.1.0").write_bytes(b"\0" + f"{OURS}.8+".encode() + b"\0")
    assert inventory._python_version(tmp_path) == f"{OURS}.8"
    (tmp_path / "LICENSE.txt").write_text("PSF")
    inventory._python_licences(tmp_path, tmp_path / "texts")
    assert (tmp_path / "texts/LICENSE.txt").read_text() == "PSF"
    part = inventory._python("3.12.1", "ab")
    assert (part["version"], part["hashes"]) == ("3.12.1", [{"alg": "SHA-256", "content": "ab"}])


def test_the_version_of_the_interpreter_that_runs_here_is_found_in_its_bytes() -> None:
    import inventory

    base = Path(sys.base_prefix)
    assert inventory._python_version(base) == platform.python_version().rstrip("+")


# --- how installing ends ----------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The part of a bundle that its script reads before it changes anything."""
    folder = tmp_path / "bundle"
    place = folder / "files/usr/lib/kiosk-agent"
    place.mkdir(parents=True)
    shutil.copy(VERSIONS, place)
    shutil.copy(PACKAGING / "install.sh", folder)
    values = f"version=1\nmachine={platform.machine()}\nminor={OURS}\nglibc=2.28\n"
    (folder / "target").write_text(values)
    return folder


def test_without_systemd_nothing_is_installed_and_it_says_so(bundle: Path, commands: Path) -> None:
    stand_in(commands, "id", "echo 0")
    done = sh(commands, f"exec sh {bundle}/install.sh")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "本机没有 systemd" in done.stderr
    assert "nothing was installed" in done.stderr


def test_a_purge_that_nobody_answers_destroys_nothing_and_says_so(bundle: Path, commands: Path) -> None:
    stand_in(commands, "id", "echo 0")
    done = sh(commands, f"exec sh {bundle}/install.sh --purge")
    assert done.returncode == 1
    assert "未销毁任何数据" in done.stderr


def removed(tmp_path: Path, commands: Path, stats: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Let dpkg remove the package; `stats`: the program's answer. Return what was said, and what a purge goes by."""
    state, systemd = tmp_path / "state", tmp_path / "systemd"
    state.mkdir()
    systemd.mkdir()
    (state / "outbox.db").touch()
    stand_in(commands, "systemctl", f'[ "$1" != stop ] || >{tmp_path}/stopped')
    stand_in(commands, "kiosk-agent", stats)
    text = (PACKAGING / "debian/prerm").read_text("utf-8")
    text = text.replace(". /usr/lib/kiosk-agent/versions.sh", VERSIONS.read_text("utf-8"))
    for place, ours in (("/var/lib/kiosk-agent", state), ("/run/systemd/system", systemd)):
        text = text.replace(place, str(ours))
    return sh(commands, text, "prerm", "remove"), (state / "waiting-at-removal").read_text("ascii").strip()


def test_what_the_desk_keeps_until_the_service_stops_is_no_purge_s_to_destroy(
    tmp_path: Path, commands: Path
) -> None:
    meanwhile = f"[ -e {tmp_path}/stopped ] && n=1 || n=0; printf '{{\\n \"ready\": %s,\\n}}\\n' $n"
    done, waiting = removed(tmp_path, commands, meanwhile)
    assert (done.returncode, waiting) == (0, "1"), done.stderr
    assert "还有 1 条记录未送达平台" in done.stdout


def test_where_nobody_can_count_what_waits_it_says_so_in_words(tmp_path: Path, commands: Path) -> None:
    done, waiting = removed(tmp_path, commands, "exit 78")
    assert (done.returncode, waiting) == (0, "unknown"), done.stderr
    assert "数量未知的记录" in done.stdout
    assert "an unknown number of records" in done.stdout


def test_a_version_that_cannot_be_laid_down_whole_is_not_there_at_all(tmp_path: Path, commands: Path) -> None:
    """A full disk while an upgrade copies: the function is asked for its outcome, where `set -e` does not hold."""
    base = tmp_path / "base"
    (base / "dist/2").mkdir(parents=True)
    (base / "versions/1-1").mkdir(parents=True)
    (base / "current").symlink_to("versions/1-1")
    for name in ("mkdir", "rm", "mv", "sync", "sed"):
        (commands / name).symlink_to(str(shutil.which(name)))
    # Half of it, then no space left.
    stand_in(commands, "cp", 'for last; do :; done; mkdir -p "$last"; >"$last/pyvenv.cfg"; exit 1')
    stand_in(commands, "systemd-sysusers", "exit 0")
    script = f'. {VERSIONS}; base={base}; folders() {{ :; }}; configure 2 || echo "ended $?"'
    done = sh(commands, script)
    assert "ended 1" in done.stdout
    assert "1-1 不受影响" in done.stdout
    assert [path.name for path in (base / "versions").iterdir()] == ["1-1"]
    assert os.readlink(base / "current") == "versions/1-1"


def test_an_account_that_cannot_be_made_ends_the_installation(tmp_path: Path, commands: Path) -> None:
    stand_in(commands, "systemd-sysusers", "echo no space >&2; exit 1")
    steps = "adopt() { echo adopted >&2; return 1; }"
    done = sh(commands, f'. {VERSIONS}; base={tmp_path}; {steps}; configure 2 || echo "ended $?"')
    assert "尚无版本 不受影响" in done.stdout
    assert "ended 1" in done.stdout
    assert done.stderr == "no space\n"


def test_without_a_running_systemd_the_end_says_when_the_service_starts(
    tmp_path: Path, commands: Path
) -> None:
    script = f". {VERSIONS}; config={tmp_path}/none; systemd_runs() {{ $0; }}; after 1"
    quiet = sh(commands, script, "true").stdout
    told = sh(commands, script, "false").stdout
    assert "没有运行 systemd" not in quiet
    assert "没有运行 systemd" in told
    assert "kiosk-agent setup" in told
