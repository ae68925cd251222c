"""The support bundle, with people and secrets planted wherever something of it could come from."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tarfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from admin_support import answered, history, open_way, owned, refused, trail
from e2e_support import Site, wait_for
from outbox_support import NAME, NUMBER, PICTURES

from agent.catalogue import AgentError
from agent.cli.files import written
from agent.clock import SystemClock
from agent.config import examine, load
from agent.control.ask import ask
from agent.ops import bundle
from agent.ops.access import acting_as
from agent.ops.bundle import MAX_BUNDLE, MAX_PIECE, Bundle
from agent.ops.sources import _known_secrets, collect
from drivers.access import Account

NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)
OPERATOR, REGISTRAR, STAFF = "覃护士甲", "登记员乙", "MARY NURSE"
PASSWORD, TICKET, SECRET = "hunter2hunter2", "ticket-canary-77", "secret-canary-88"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A hospital with a canary in every place that people or IT can write to."""
    made = Site(tmp_path / "site")
    content = yaml.safe_load(made.config.read_text("utf-8"))
    content["operators"] = {"default": OPERATOR, "list": [OPERATOR]}
    content["device"] |= {"register_user": REGISTRAR, "dept_name": f"{REGISTRAR}的科室"}
    content["camera"] = {"source": f"rtsp://nurse:{PASSWORD}@127.0.0.1:1/live"}
    content["console"] |= {"notice": f"有事请找{OPERATOR}"}
    made.config.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    (made.folder / "org_app_secret").write_text(SECRET + "\n")
    (made.folder / "esb_ticket").write_text(TICKET + "\n")
    return made


def unpacked(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("kiosk-agent-support/")] = file.read()
        return found


def canaries(site: Site) -> list[bytes]:
    texts = [NAME, NUMBER, OPERATOR, REGISTRAR, STAFF, PASSWORD, TICKET, SECRET, "nurse:"]
    words = [text.encode(code) for text in texts for code in ("utf-8", "gb18030", "utf-16-le")]
    words += [json.dumps(text).strip('"').encode() for text in texts]
    words += [base64.b64encode(text.encode())[:-4] for text in texts]
    pictures = [base64.b64encode(picture)[:40] for picture in PICTURES.values()]
    keys = [path.read_bytes().strip() for path in (site.folder / "state/keys").glob("*.key")]
    return [word for word in [*words, *pictures, *keys] if len(word) > 3]


def holds_nobody(site: Site, content: dict[str, bytes]) -> None:
    whole = b"\n".join([*content.values(), *(name.encode() for name in content)])
    assert [word for word in canaries(site) if word in whole] == []


def planted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of a person, a discard with her name as its reason, a file named after her, a claimed name."""
    ids = history(site)
    with monkeypatch.context() as context:
        context.setenv("SUDO_USER", STAFF)
        answered(site, "outbox", "retry", ids["parked"])
        assert (
            site.cli("outbox", "discard", ids["held"], "--reason", f"{NAME} {NUMBER}", "--yes").returncode
            == 0
        )
    (site.folder / "state" / f"{NAME}-{NUMBER}.txt").write_text(NAME)
    written = (site.folder / "state" / "audit.jsonl").read_text("utf-8")
    assert NAME in written
    assert STAFF in written


def test_a_bundle_of_a_stopped_agent_holds_what_helps_and_nobody(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(site, monkeypatch)
    out = tmp_path / "b.tar.gz"
    said = site.cli("support-bundle", str(out))
    assert said.returncode == 0, said.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    content = unpacked(out)
    holds_nobody(site, content)
    holds_nobody(site, {"screen": said.stdout.encode()})
    queue = json.loads(content["status.json"])["queue"]
    assert (queue["accepted"], queue["difference"]) == (5, 0)
    config = json.loads(content["config.json"])
    assert (config["platform.encrypt"], config["operators.default"]) == ("true", "(set)")
    assert set(json.loads(content["doctor.json"])[0]) == {"check", "code", "follows", "facts"}
    lines = json.loads(content["audit.json"])
    assert "record.retried" in {line["what"] for line in lines}
    assert "(person)" in {line["who"] for line in lines}
    assert any(file["name"] == "(other)" for file in json.loads(content["state.json"])["files"])
    manifest = json.loads(content["manifest.json"])
    assert set(manifest["files"]) == set(content) - {"manifest.json"}
    assert all(left["why"] for left in manifest["left_out"])
    assert trail(site)[-1]["what"] == "bundle.made"
    refused(site, "E8309", "support-bundle", str(out))


def test_a_bundle_beside_the_running_daemon(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(site, monkeypatch)
    with site.reader(1), site.daemon() as daemon:
        wait_for("the reader is ready", lambda: "[I1003]" in daemon.text())
        assert site.cli("support-bundle", str(tmp_path / "b")).returncode == 0
    content = unpacked(tmp_path / "b")
    holds_nobody(site, content)
    status = json.loads(content["status.json"])
    assert status["daemon"] is True
    assert status["topics"]["reader"]["sam_id"]


@pytest.mark.parametrize("broken", ["configuration", "unknown keys", "no configuration", "database", "keys"])
def test_a_bundle_of_whatever_does_not_start(
    site: Site, tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(site, monkeypatch)
    state = site.folder / "state"
    if broken == "configuration":
        site.config.write_text(site.config.read_text("utf-8") + f"\n{NAME}: [\n", "utf-8")
    elif broken == "unknown keys":
        text = f"# {NAME} {SECRET}\n{site.config.read_text('utf-8')}\n{NAME}: {NUMBER}\nticket_{TICKET}: 1\n"
        text = text.replace(
            "  encrypt:", f"  {SECRET}: x\n  proxy: 'http://nurse:{PASSWORD}@10.0.0.1:1 {TICKET}'\n  encrypt:"
        )
        site.config.write_text(text, "utf-8")
    elif broken == "no configuration":
        site.config.unlink()
    elif broken == "database":
        (state / "outbox.db").write_bytes(f"{NAME}{NUMBER}".encode() * 9999)
    else:
        (state / "keys/audit.key").chmod(0o644)
    assert site.cli("support-bundle", str(tmp_path / "b")).returncode == 0
    content = unpacked(tmp_path / "b")
    holds_nobody(site, content)
    assert "machine.json" in content
    left = {one["what"]: one["why"] for one in json.loads(content["manifest.json"])["left_out"]}
    if "configuration" in broken:
        code = {"configuration": "E6010", "no configuration": "E6001"}[broken]
        assert [one["code"] for one in json.loads(content["check.json"])] == [code]
        assert "config.json" in left
        # Without a file nobody knows where the state is; one that is no YAML may still say it.
        known = broken == "configuration"
        assert ("status.json" in content, "status.json" in left) == (known, not known)
    elif broken == "unknown keys":
        found = json.loads(content["check.json"])
        assert {(one["code"], one["key"]) for one in found} == {("E6016", None), ("E6025", "platform.proxy")}
        assert set(left) >= {"config.json", "audit.json"}
        doctors = {one["check"]: one for one in json.loads(content["doctor.json"])}
        assert (doctors["daemon"]["code"], doctors["line"]["follows"]) == ("W8602", "configuration")
        found = json.loads(content["status.json"])
        assert (found["daemon"], found["down"], found["queue"]["accepted"]) == (False, ["W8611"], 5)
        assert "outbox.db" in {file["name"] for file in json.loads(content["state.json"])["files"]}
    elif broken == "keys":
        assert left["status.json"] == "E7202"
        assert "doctor.json" in content


def test_without_a_state_directory_none_is_made(site: Site, tmp_path: Path) -> None:
    assert site.cli("support-bundle", str(tmp_path / "b")).returncode == 0
    left = {one["what"] for one in json.loads(unpacked(tmp_path / "b")["manifest.json"])["left_out"]}
    assert {"state.json", "status.json", "doctor.json", "audit.json"} <= left
    assert not (site.folder / "state").exists(), "the service's first start makes it, under its own account"


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs another account")
def test_another_account_gets_what_it_may_see(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle of somebody who may read neither secrets nor state: less in it, and no traceback."""
    planted(site, monkeypatch)
    config, findings = examine(site.config)
    assert config is not None
    with acting_as(Account("stranger", 64321, frozenset({64321}))):
        made = collect(
            config, findings, lambda: None, lambda verb, args=None: ask(config, verb, args), SystemClock()
        )
    content = {piece.name: piece.content for piece in made.pieces}
    assert {"machine.json", "config.json", "check.json"} <= set(content)
    assert "status.json" in {left["what"] for left in made.left_out}
    holds_nobody(site, content | {"manifest.json": made.manifest()})


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="another account's files need root")
def test_root_keeps_the_services_keys_out_though_one_of_them_is_broken(site: Site) -> None:
    with owned(site):
        pass  # makes them
    folder = site.folder / "state/keys"
    whole = [load_key(folder / f"{name}.key") for name in ("seal", "pseudonym")]
    (folder / "audit.key").chmod(0o600)
    (folder / "audit.key").write_text("hex:no such key\n")
    for path in [folder.parent, *folder.parent.rglob("*")]:
        os.chown(path, 65534, 65534)
    open_way(site.folder)
    known = _known_secrets(load(site.config))
    assert {key.hex().encode() for key in whole} <= set(known)


def load_key(file: Path) -> bytes:
    return bytes.fromhex(file.read_text("ascii").strip().removeprefix("hex:"))


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="a file system to fill needs root")
def test_a_full_disk_leaves_no_half_of_a_bundle(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(room)], check=True)
    try:
        made = Bundle(NOW)
        made.add("random", lambda: base64.b85encode(os.urandom(300_000)).decode())
        assert made.pieces
        with pytest.raises(AgentError) as full:
            written(room / "b", made.archive(), force=False)
        assert full.value.code == "E8308"
        assert list(room.iterdir()) == []
    finally:
        subprocess.run(["umount", str(room)], check=True)


def test_a_piece_with_a_secret_or_too_large_stays_out_and_is_named() -> None:
    def broken() -> None:
        raise ZeroDivisionError(SECRET)

    made = Bundle(NOW, (SECRET.encode(),))
    made.add("a", lambda: {"slipped": f"x{SECRET}y"})
    made.add("b", lambda: ["x" * MAX_PIECE])
    made.add("c", broken)
    made.add("d", lambda: {"number": NUMBER, "picture": "Zm9v" * 40})
    for number in range(8):
        made.add(f"e{number}", lambda: ["y " * (MAX_PIECE // 3)])
    assert [left["what"] for left in made.left_out][:3] == ["a", "b", "c"]
    assert SECRET not in str(made.left_out)
    assert sum(len(piece.content) for piece in made.pieces) <= MAX_BUNDLE
    assert made.left_out[-1]["what"] == "e7"
    (kept,) = [piece for piece in made.pieces if piece.name == "d"]
    assert NUMBER.encode() not in kept.content
    assert b"Zm9vZm9v" not in kept.content


def test_a_journal_entry_passes_by_code_and_facts_alone() -> None:
    entry: dict[str, Any] = {
        "__REALTIME_TIMESTAMP": "1",
        "PRIORITY": "3",
        "MESSAGE": f"{NAME} {NUMBER}",
        "AGENT_CODE": "E5101",
        "AGENT_DETAIL": f"500 A2301 {NAME}",
        "AGENT_OPERATOR": OPERATOR,
        "AGENT_REASON": NAME,
        "AGENT_RECORD": NAME,
        "RECORD": "a" * 32,
        "_HOSTNAME": "desk-of-mary",
    }
    (kept,) = bundle.journal([json.dumps(entry)])
    assert (kept["code"], kept["record"]) == ("E5101", "a" * 32)
    assert kept["facts"] == {"reason": "(text)", "platform_codes": "500 A2301", "code": "E5101"}
    assert bundle.facts({"reason": f"{STAFF} not in group dialout"}, "E1102") == {}
    assert bundle.facts({"received": "MARY NURSE", "limit": 3}, "E8519") == {"limit": "3"}
    assert bundle.facts({"reason": "mary: Permission denied"}, "E6002") == {}
    assert bundle.trail([{"who": "mary", "result": "Mary Nurse"}])[0]["result"] == "(text)"
    assert bundle.record_id(NAME) == "(other)"
    assert os.uname().nodename not in json.dumps(kept)
