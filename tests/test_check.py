"""`check`, `run` and `reload` on what a configuration names: secrets, programs, folders, certificates, a port."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e_support import Site, wait_for

from agent import keys
from agent.catalogue import entry
from agent.config.loader import read
from agent.ops import surroundings
from agent.ops.access import acting_as
from drivers.access import Account

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another account needs root")

Edit = dict[str, Any]
#: A daemon ends in five seconds; this machine may be busy.
STOP_S = 30.0


def place_of(site: Site, dotted: str) -> tuple[int, int]:
    """Return line and column of a key, or of its value where that is no mapping, by YAML's own marks."""
    node: Any = yaml.compose(site.config.read_text("utf-8"))
    for name in dotted.split("."):
        key, node = next((key, value) for key, value in node.value if key.value == name)
    mark = (key if isinstance(node, yaml.MappingNode) else node).start_mark
    return mark.line + 1, mark.column + 1


def told(site: Site, *options: str) -> list[tuple[str, int, int]]:
    done = site.cli("check", "--json", *options)
    answer = json.loads(done.stdout)
    fatal = any(one["code"].startswith("E") for one in answer["findings"])
    assert (done.returncode, answer["ok"]) == ((78, False) if fatal else (0, True))
    return [(one["code"], one["line"], one["column"]) for one in answer["findings"]]


def changed(site: Site, edits: Edit) -> None:
    data = yaml.safe_load(site.config.read_text("utf-8"))
    for key, value in edits.items():
        *above, last = key.split(".")
        section = data
        for name in above:
            section = section.setdefault(name, {})
        section[last] = value
    site.config.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), "utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_a_site_that_has_everything_is_right(site: Site) -> None:
    assert told(site) == []


def test_everything_that_is_missing_is_told_at_its_key_at_once_and_in_order(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "open").write_text("x" * 20)
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "ca.pem").write_text("no certificate")
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    wrong = {
        "platform.org_app_secret": ({"file": str(tmp_path / "none")}, "E7201"),
        "platform.authorization": ({"file": str(tmp_path / "open")}, "E7202"),
        "platform.ca_file": (str(tmp_path / "ca.pem"), "E6057"),
        "reader.photo_decoder.command": ([str(tmp_path / "plain")], "E6058"),
        "face.weights_dir": (str(tmp_path), "E2201"),
        "face.liveness.command": (["/nowhere/liveness"], "E6058"),
        "keys.seal": ({"credential": "no_such_key"}, "E7204"),
        "intake.folder": (str(tmp_path / "nowhere"), "E6056"),
        "intake.mapping": ("eastcom-m20", "E6051"),
    }
    changed(
        site, {key: value for key, (value, _) in wrong.items()} | {"reader.photo_decoder.kind": "command"}
    )
    expected = [(code, *place_of(site, key)) for key, (_, code) in wrong.items()]
    assert told(site) == sorted(expected, key=lambda one: one[1:])
    assert told(site, "--no-env") == []


def test_what_only_a_desk_needs_is_not_missed_where_a_kiosk_compares(site: Site, tmp_path: Path) -> None:
    wrong: dict[str, Any] = {
        "face.weights_dir": str(tmp_path),
        "face.liveness.command": ["/nowhere/liveness"],
    }
    wrong |= {"reader.photo_decoder": {"kind": "command"}, "intake.folder": str(tmp_path)}
    changed(site, wrong)
    assert {code for code, *_ in told(site)} == {"E2201", "E6058"}
    changed(site, {"reader.source": "none"})
    assert told(site) == []


def test_a_key_that_stands_nowhere_is_told_at_its_section(site: Site) -> None:
    changed(site, {"reader.photo_decoder": {"kind": "command"}})
    assert told(site) == [("E6058", *place_of(site, "reader.photo_decoder"))]


def test_a_port_in_use_is_told_and_a_daemon_may_hold_its_own(site: Site) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        changed(site, {"console.listen": f"127.0.0.1:{other.getsockname()[1]}"})
        assert told(site) == [("E8401", *place_of(site, "console.listen"))]
    with site.platform(), site.daemon() as daemon:
        wait_for("it listens", lambda: "[I8401]" in site.log())
        assert told(site) == []
        assert daemon.terminate(STOP_S) == 0


def test_a_state_dir_that_is_a_file_or_lies_below_one(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        changed(site, {"state_dir": str(path)})
        assert told(site) == [("E8302", *place_of(site, "state_dir"))], path


@pytest.mark.parametrize(
    "content", ["\ufeffsecret-of-notepad", "two\nlines-of-it", "blank-behind ", "密钥密钥密钥"]
)
def test_a_secret_that_is_no_line_of_text_is_told(site: Site, content: str) -> None:
    secret = Path(yaml.safe_load(site.config.read_text("utf-8"))["platform"]["authorization"]["file"])
    secret.chmod(0o600)
    secret.write_text(content, "utf-8")
    assert told(site) == [("E7210", *place_of(site, "platform.authorization"))]
    secret.write_text("good\r\n", "utf-8")
    assert told(site) == []


def test_a_secret_that_does_not_fit_its_convention_is_told(site: Site) -> None:
    changed(site, {"platform.conventions": {"sign_key": "hex"}})
    secret = Path(yaml.safe_load(site.config.read_text("utf-8"))["platform"]["org_app_secret"]["file"])
    secret.chmod(0o600)
    secret.write_text("not-hex-at-all-xx", "utf-8")
    assert told(site) == [("E7401", *place_of(site, "platform.org_app_secret"))]


# --- run and reload go the same way -----------------------------------------------------------------

#: What keeps the daemon from starting; what it outlives is told by `check` alone.
NEEDED: list[tuple[Edit, str, str]] = [
    ({"platform.authorization": {"file": "/nowhere/ticket"}}, "platform.authorization", "E7201"),
    ({"camera.password": {"file": "/nowhere/password"}}, "camera.password", "E7201"),
    ({"intake.folder": "/tmp", "intake.mapping": "nobody"}, "intake.mapping", "E6051"),
]


@pytest.mark.parametrize(("edits", "key", "code"), NEEDED)
def test_what_run_refuses_check_refuses_in_the_same_words(
    site: Site, edits: Edit, key: str, code: str
) -> None:
    changed(site, edits)
    line, column = place_of(site, key)
    said = f"{site.config}:{line}:{column} {code} "
    assert said in site.cli("check").stdout
    with site.daemon() as daemon:
        assert daemon.wait() == 78
    assert said in site.log()
    assert "Traceback" not in site.log()


def test_a_reload_says_what_is_missing_and_keeps_what_is_in_force(site: Site) -> None:
    good = site.config.read_text("utf-8")
    with site.platform(), site.daemon() as daemon:
        wait_for("it runs", lambda: "[I8001]" in site.log())
        wait_for("it answers", lambda: site.cli("status", "--json").returncode == 0)
        for edits, key, code in NEEDED[:2]:
            changed(site, edits)
            refused = site.cli("reload")
            line, column = place_of(site, key)
            assert refused.returncode == 78
            assert f"{site.config}:{line}:{column} {code} " in refused.stderr
            assert "E8105" not in refused.stderr
            site.config.write_text(good, "utf-8")
        secret = Path(yaml.safe_load(good)["platform"]["org_app_secret"]["file"])
        kept = secret.read_bytes()
        secret.unlink()
        assert "E7201" in site.cli("reload").stderr, "the path is the old one, the file is gone"
        secret.write_bytes(kept)
        secret.chmod(0o600)
        assert site.cli("reload").returncode == 0
        assert daemon.terminate(STOP_S) == 0


def test_a_changed_state_dir_is_said_to_need_a_restart(site: Site, tmp_path: Path) -> None:
    old = yaml.safe_load(site.config.read_text("utf-8"))["state_dir"]
    with site.platform(), site.daemon() as daemon:
        wait_for("it answers", lambda: site.cli("reload").returncode == 0)
        changed(site, {"state_dir": str(tmp_path / "elsewhere")})
        refused = site.cli("reload")
        assert refused.returncode == 69
        assert "E8209" in refused.stderr
        assert "restart" in refused.stderr
        assert not (tmp_path / "elsewhere").exists(), "a question makes no new state directory"
        assert daemon.terminate(STOP_S) == 0
    assert Path(old).exists()


# --- with the service's eyes ------------------------------------------------------------------------


@contextlib.contextmanager
def owned_by(site: Site, uid: int) -> Iterator[Path]:
    """Give the site to an account, in a folder that it may enter, as a package's user has it."""
    state = Path("/run") / f"kiosk-check-{os.getpid()}"
    state.mkdir(mode=0o700)
    os.chown(state, uid, uid)
    changed(site, {"state_dir": str(state)})
    try:
        yield state
    finally:
        shutil.rmtree(state)


@needs_root
@pytest.mark.needs_root
def test_root_looks_with_the_service_s_eyes(site: Site) -> None:
    """The service's own files are no fault, and what only root can read is one."""
    nobody = pwd.getpwnam("nobody")
    with owned_by(site, nobody.pw_uid) as state:
        for name in ("org_app_secret", "authorization"):
            (state / name).write_text("a-secret-of-sixteen")
            (state / name).chmod(0o400)
            changed(site, {f"platform.{name}": {"file": str(state / name)}})
        os.chown(state / "authorization", nobody.pw_uid, nobody.pw_gid)
        found = told(site)
        assert ("E7201", *place_of(site, "platform.org_app_secret")) in found, "root's, closed to the service"
        assert "platform.authorization" not in _keys_told(site)
        assert ("E6002", 1, 1) in found, "the configuration lies in a folder that is closed to the service"
        assert os.geteuid() == 0


def _keys_told(site: Site) -> set[str]:
    file = read(site.config)
    found = surroundings.surroundings(file, file.usable(), daemon=False)
    return {finding.facts["key"] for finding in found if finding.code.startswith("E72")}


@needs_root
@pytest.mark.needs_root
def test_another_account_is_told_what_it_could_not_look_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's `check` claims nothing that it could not see: one warning, and no 78."""
    stranger = Account("stranger", 64321, frozenset({64321}))
    with owned_by(site, pwd.getpwnam("nobody").pw_uid) as state, monkeypatch.context() as patched:
        closed = {"intake.folder": "in", "intake.pictures": "pictures", "platform.ca_file": "ca.pem"}
        changed(site, {key: str(state / name) for key, name in closed.items()})
        changed(site, {"reader.photo_decoder": {"kind": "command", "command": [str(state / "wlt2bmp")]}})
        # Credentials are systemd's to hand over: nobody else who types a command has any.
        changed(site, {"platform.authorization": {"credential": "esb_ticket"}})
        file = read(site.config)
        with acting_as(stranger):
            patched.setattr("agent.ops.surroundings.weights.in_use", lambda _face: None)
            found = surroundings.surroundings(file, file.usable(), daemon=False)
    assert {finding.code for finding in found} == {"W6151"}
    keys_told = set(found[0].facts["keys"].split(", "))
    assert {
        *closed,
        "platform.org_app_secret",
        "platform.authorization",
        "reader.photo_decoder.command",
    } <= keys_told
    assert not any(finding.fatal for finding in found)
    assert entry("W6151").title("zh", found[0].facts)


def test_the_unit_s_state_directory_wins_and_a_reader_of_the_file_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "UNITS", (site.config,))
    monkeypatch.setattr(surroundings, "SERVICE_STATE", site.folder / "systemd-s-own")
    monkeypatch.setattr(keys, "SECRETS", site.config.parent / "secrets")
    file = read(site.config)
    (found,) = surroundings.surroundings(file, file.usable(), daemon=False)
    assert (found.code, (found.place.line, found.place.column)) == ("W6152", place_of(site, "state_dir"))
    monkeypatch.setattr(surroundings, "UNITS", (site.folder / "none",))
    assert surroundings.surroundings(file, file.usable(), daemon=False) == []
