"""A running daemon whose configuration file has become unreadable, or is gone: it is found, and both are told."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from admin_support import answered, history
from e2e_support import Site, wait_for

from agent.cli import whereabouts
from agent.cli.doctor_words import LABELS
from agent.cli.options import Settings
from agent.cli.whereabouts import said
from agent.ops import conditions
from agent.ops import status as ops
from agent.ops.unconfigured import ORDER

CONFIG_WRONG = 78


def broken(text: str) -> dict[str, bytes | None]:
    """Return what people do to a file, each with the cause that E8617 names."""
    return {
        "E6004": text.replace("lang: zh", "lang: zh  # 门诊一楼登记处").encode("gb18030"),
        "E6006": text.replace("lang: zh", "\tlang: zh").encode(),
        "E6007": text.replace("lang: zh", "lang：zh").replace("state_dir:", "state_dir：").encode(),
        "E6008": text.encode("utf-16"),
        "E6010": f"{text}\nlogging: {{level: info\n".encode(),
        # Neither says where the daemon is: it is asked which file it runs by.
        "E6011": b"- nothing\n",
        "E6016": text.replace("state_dir:", "state_dri:").encode(),
        "E6001": None,
    }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def codes(site: Site) -> list[str]:
    return [one["code"] for one in answered(site, "status")["problems"]]


def put(file: Path, content: bytes | None) -> None:
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)


def test_a_daemon_is_found_whatever_has_become_of_its_file(site: Site) -> None:
    with site.daemon():
        wait_for("the daemon answers", lambda: answered(site, "status")["daemon"])
        for cause, content in broken(site.config.read_text("utf-8")).items():
            put(site.config, content)
            report = answered(site, "status")
            told = {one["code"] for one in report["problems"]}
            assert (report["daemon"], "E8617" in told, told & {"W8602", "W8620"}) == (True, True, set()), (
                cause
            )
            assert report["on_file"]["facts"]["cause"] == cause
            shown = site.cli("status")
            assert (shown.returncode, "E8617" in shown.stdout) == (0, True), cause
            assert site.cli("outbox", "list").returncode == 0, cause
        packed = site.folder / "bundle.tgz"
        assert site.cli("support-bundle", str(packed)).returncode == 0
        with tarfile.open(packed) as archive:
            piece = archive.extractfile("kiosk-agent-support/status.json")
            assert piece is not None
            assert json.load(piece)["daemon"], "where nothing but the socket tells of it"


def test_without_any_hint_nobody_says_that_the_daemon_is_down(site: Site) -> None:
    history(site)
    site.config.unlink()
    report = answered_wrong(site)
    told = [one["code"] for one in report["problems"]]
    assert (report["daemon"], told) == (None, ["E6001", "W8620"])
    shown = site.cli("status", "--lang", "en")
    assert (shown.returncode, "is not known" in shown.stdout) == (CONFIG_WRONG, True)
    assert site.cli("status", "--nagios").returncode == ops.NAGIOS["UNKNOWN"]


def test_where_the_broken_file_still_says_where_the_records_are_they_are_told(site: Site) -> None:
    history(site)
    site.config.write_text(site.config.read_text("utf-8") + "logging: {level: info\n", "utf-8")
    report = answered_wrong(site)
    assert [one["code"] for one in report["problems"]][:2] == ["E6010", "W8602"]
    assert report["queue"]["delivered"] == 1


def answered_wrong(site: Site) -> dict[str, Any]:
    run = site.cli("status", "--json")
    assert run.returncode == CONFIG_WRONG
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("state_dir: /a/b  # where", "/a/b"),
        ('"state_dir" : "/a/b"', "/a/b"),
        ("state_dir：“/a/b”", "/a/b"),
        ("\tstate_dir:\t/a/b\t# where", "/a/b"),
        ("{lang: zh, state_dir: /a/b, device: {", "/a/b"),
        ("state_dir: /a b\r", "/a b"),
        ("# state_dir: /a/b", None),
        ("my_state_dir: /a/b", None),
        ("state_dir:\nlang: zh", None),
    ],
)
def test_one_key_is_found_in_a_file_that_is_no_yaml(line: str, value: str | None) -> None:
    assert said(f"lang: zh\n{line}\nplatform: {{\n".encode(), "state_dir") == value


def test_nobody_elses_socket_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens under our name would else keep monitoring quiet."""
    asked: list[Path] = []

    def call(state_dir: Path, _verb: str, **_rest: float) -> dict[str, str]:
        asked.append(state_dir)
        return {"config_file": str(tmp_path / "config.yaml")}

    monkeypatch.setattr(whereabouts, "call", call)
    sockets = tmp_path / "unix"
    lines = []
    for name in ("another's", "no state", "does not listen", "ours"):
        (tmp_path / name).mkdir()
        if name != "no state":
            (tmp_path / name / "last_run.json").touch()
        flags = "00000000" if name == "does not listen" else "00010000"
        lines.append(f"ffff: 00000002 00000000 {flags} 0001 01 4711 {tmp_path / name}/control.sock")
    sockets.write_text("Num RefCount Protocol Flags Type St Inode Path\n" + "\n".join(lines))
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid)
    real = Path.stat

    def stat(path: Path, **rest: bool) -> Any:
        found = list(real(path, **rest))
        return os.stat_result([*found[:4], 64321, *found[5:]]) if path.name == "another's" else real(path)

    monkeypatch.setattr(Path, "stat", stat)
    file = tmp_path / "config.yaml"
    assert whereabouts.of_daemon(file, sockets) == tmp_path / "ours"
    assert asked == [tmp_path / "ours"]
    assert whereabouts.of_daemon(tmp_path / "other.yaml", sockets) is None
    assert whereabouts.of_daemon(file, tmp_path / "none") is None


def test_a_file_that_is_gone_leaves_what_systemd_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/prepared:/second")
    file = tmp_path / "config.yaml"
    assert Settings(file).state_dir() == Path("/prepared")
    file.write_text("state_dir: /a\nlang: en\nplatform: [\n")
    settings = Settings(file)
    assert (settings.state_dir(), settings.language) == (Path("/prepared"), "en")


# --- doctor -----------------------------------------------------------------------------------------


def doctors(site: Site) -> list[dict[str, Any]]:
    run = site.cli("doctor", "--json")
    assert run.returncode == CONFIG_WRONG
    found: list[dict[str, Any]] = json.loads(run.stdout)
    assert {one["check"] for one in found} == set(LABELS)
    return found


def test_doctor_goes_on_beside_a_daemon_whatever_its_file_says(site: Site) -> None:
    text = site.config.read_text("utf-8")
    with site.daemon():
        wait_for("the reader is missing", lambda: "E1101" in codes(site))
        for content, code in ((f"{text}lnag: zh\n", "E6016"), (f"{text}logging: {{\n", "E6010")):
            site.config.write_text(content, "utf-8")
            found = doctors(site)
            first, checks = found[0], {one["check"]: one for one in found}
            assert (first["check"], first["code"], first["who"]) == ("configuration", code, "it")
            assert first["file"] == str(site.config)
            assert first["do"]
            assert (checks["daemon"]["ok"], checks["file"]["code"]) == (True, "E8617")
            assert (checks["reader"]["code"], checks["queue"]["ok"]) == ("E1101", True)
            follows = {name for name, one in checks.items() if one["follows"] == "configuration"}
            assert follows == set(ORDER) - set(conditions.NAMED) - WITHOUT
            assert "daemon" not in {one["follows"] for one in found}
            told = {one["code"] for one in found if one["code"]}
            assert set(codes(site)) <= told


#: Probes that need no configuration.
WITHOUT = {"package", "sealing", "database", "pictures"}


def test_doctor_without_a_daemon_tells_what_does_not_depend_on_the_configuration(site: Site) -> None:
    history(site)
    text = site.config.read_text("utf-8")
    site.config.write_text(f"{text}lnag: zh\n", "utf-8")
    checks = {one["check"]: one for one in doctors(site)}
    assert (checks["daemon"]["code"], checks["last run"]["code"]) == ("W8602", "W8611")
    assert (checks["refused"]["code"], checks["backup"]["code"]) == ("W3128", "W7307")
    assert checks["sealing"]["ok"]
    for name in ("secrets", "reader", "decoder", "face", "key files", "intake", "line", "signature"):
        assert checks[name]["follows"] == "configuration", name
    shown = site.cli("doctor")
    lines = shown.stdout.splitlines()
    assert shown.returncode == CONFIG_WRONG
    assert lines[0].startswith(f"✗  配置文件     {site.config}:")
    assert "是否想写 lang" in lines[0]
    assert lines[0].endswith("[E6016] (信息科)")
    assert lines[1].strip().startswith("1. ")
    assert any(line.startswith("?  密钥与票据") and line.endswith("先解决 配置文件") for line in lines)
    assert any(line.startswith("?  生效的配置") and line.endswith("先解决 守护进程") for line in lines)


def test_doctor_knows_where_it_does_not_know(site: Site) -> None:
    history(site)
    site.config.unlink()
    checks = {one["check"]: one for one in doctors(site)}
    assert (checks["configuration"]["code"], checks["daemon"]["code"]) == ("E6001", "W8620")
    assert {checks[name]["follows"] for name in ("disk", "database", "queue")} == {"configuration"}
    assert "W8602" not in {one["code"] for one in checks.values()}


def test_a_damaged_outbox_is_told_without_a_configuration(site: Site) -> None:
    history(site)
    site.config.write_text(site.config.read_text("utf-8") + "lnag: zh\n", "utf-8")
    (site.folder / "state/outbox.db").write_bytes(b"no database at all")
    checks = {one["check"]: one for one in doctors(site)}
    assert (checks["database"]["code"], checks["queue"]["follows"]) == ("E3107", "database")


def test_a_configuration_that_can_be_used_is_the_first_check(site: Site) -> None:
    first = json.loads(site.cli("doctor", "--json").stdout)[0]
    assert (first["check"], first["ok"], first["facts"]) == (
        "configuration",
        True,
        {"file": str(site.config)},
    )
