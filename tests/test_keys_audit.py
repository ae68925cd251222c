"""Keys that only we can read, and a trail that shows every change."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from outbox_support import PICTURES, verification

from agent import keys
from agent.audit import Audit
from agent.catalogue import AgentError
from agent.clock import SystemClock
from agent.config.schema import Config, Secret
from agent.ownership import owning

KEY = b"k" * 32


def config(folder: Path) -> Config:
    secret = {"file": str(folder / "secret")}
    return Config.model_validate(
        {
            "state_dir": str(folder / "state"),
            "platform": {
                "base_url": "http://127.0.0.1:1",
                "org_app_id": "x",
                "org_app_secret": secret,
                "authorization": secret,
                "encrypt": True,
            },
            "device": dict.fromkeys(
                ("dept_id", "dept_name", "manufacturer", "machine_code", "device_no", "register_user"), "x"
            )
            | {"purchase_date": "2024-06-01"},
        }
    )


def test_keys_are_made_once_readable_by_us_alone_and_found_again(tmp_path: Path) -> None:
    first = keys.load(config(tmp_path))
    again = keys.load(config(tmp_path))
    assert first.made
    assert not again.made
    assert (first.seal, first.audit, first.pseudonym) == (again.seal, again.audit, again.pseudonym)
    assert len({first.seal, first.audit, first.pseudonym}) == 3
    for path in (tmp_path / "state/keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert first.seal.hex() not in repr(first)


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Secret:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return Secret(file=str(path))


@pytest.mark.parametrize("content", [b"s3cret\n", b"s3cret\r\n", b"s3cret"])
def test_a_secret_loses_its_line_end_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    assert keys.read_secret(secret_file(tmp_path, content), "k") == b"s3cret"


@pytest.mark.parametrize(
    ("content", "mode", "code"),
    [(b"x", 0o640, "E7202"), (b"x", 0o604, "E7202"), (b"\n", 0o600, "E7203"), (b"x" * 5000, 0o600, "E7203")],
)
def test_a_bad_secret_file_is_refused_by_its_own_code(
    tmp_path: Path, content: bytes, mode: int, code: str
) -> None:
    with pytest.raises(AgentError, match=code):
        keys.read_secret(secret_file(tmp_path, content, mode), "k")


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_folder_in_a_secrets_place_is_told_as_one(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(AgentError, match="E7201") as told:
        keys.read_secret(Secret(file=str(tmp_path)), "k")
    assert told.value.facts["reason"] == "Is a directory"


def test_a_credential_is_read_from_systemds_folder_and_missed_without_it(tmp_path: Path) -> None:
    (tmp_path / "ticket").write_bytes(b"abc\n")
    secret = Secret(credential="ticket")
    assert keys.read_secret(secret, "k", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == b"abc"
    with pytest.raises(AgentError, match="E7204"):
        keys.read_secret(secret, "k", {})
    with pytest.raises(AgentError, match="E7201"):
        keys.read_secret(Secret(credential="other"), "k", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_an_encrypted_credential_is_refused_by_name_where_systemd_cannot_decrypt_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ubuntu 22.04 has systemd 249; the file that is there must not be told as one that is not."""
    monkeypatch.setattr(keys, "SECRETS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "ticket.cred").write_bytes(b"sealed by another systemd")
    with pytest.raises(AgentError, match="E7209"):
        keys.read_secret(Secret(credential="ticket"), "platform.authorization", {})
    tool = tmp_path / "bin/systemd-creds"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    with pytest.raises(AgentError, match="E7201"):
        keys.read_secret(Secret(credential="ticket"), "platform.authorization", {})


def trail(folder: Path) -> Audit:
    return Audit(folder / "audit.jsonl", KEY, SystemClock())


def fill(folder: Path, count: int = 3) -> None:
    with trail(folder) as audit:
        for number in range(count):
            audit.append("record.accepted", who="station", target=f"r{number}", durable=number == 0)


def test_a_trail_is_counted_and_verified_over_restarts(tmp_path: Path) -> None:
    fill(tmp_path)
    fill(tmp_path)
    with trail(tmp_path) as audit:
        assert audit.count("record.accepted") == 6
        assert audit.verify().broken_at is None
        assert audit.verify().lines == 6


def damage(path: Path, how: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    if how == "changed":
        lines[1] = lines[1].replace('"r1"', '"r9"')
    elif how == "removed":
        del lines[1]
    elif how == "swapped":
        lines[0], lines[1] = lines[1], lines[0]
    elif how == "not json":
        lines[1] = "nonsense\n"
    path.write_text("".join(lines))


@pytest.mark.parametrize("how", ["changed", "removed", "swapped", "not json"])
def test_a_line_that_was_tampered_with_shows(tmp_path: Path, how: str) -> None:
    fill(tmp_path)
    damage(tmp_path / "audit.jsonl", how)
    with trail(tmp_path) as audit:
        assert audit.verify().broken_at is not None


def test_a_genuine_line_of_another_trail_does_not_fit(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
    ours, theirs = (
        (tmp_path / name / "audit.jsonl").read_text().splitlines(keepends=True) for name in ("a", "b")
    )
    ours[1] = theirs[1]
    (tmp_path / "a" / "audit.jsonl").write_text("".join(ours))
    with trail(tmp_path / "a") as audit:
        assert audit.verify().broken_at == 2


def test_without_the_key_no_line_can_be_forged(tmp_path: Path) -> None:
    fill(tmp_path)
    with Audit(tmp_path / "audit.jsonl", b"other" * 8, SystemClock()) as forger:
        forger.append("record.discarded", who="nobody", target="r1")
    with trail(tmp_path) as audit:
        assert audit.verify().broken_at == 4


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_last_line_is_set_aside_and_the_chain_goes_on(tmp_path: Path, cut: int) -> None:
    fill(tmp_path)
    path = tmp_path / "audit.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    fill(tmp_path, 1)
    with trail(tmp_path) as audit:
        assert audit.verify().broken_at is None
        assert audit.count("record.accepted") == 3
    assert (tmp_path / "audit.torn").exists()


def test_a_line_that_does_not_fit_leaves_no_half_and_the_chain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trail(tmp_path) as audit:
        audit.append("x", who="t", target="o")
        real = os.write

        def short(descriptor: int, data: bytes) -> int:
            return real(descriptor, data[: len(data) // 2])

        monkeypatch.setattr("agent.audit.trail.os.write", short)
        with pytest.raises(AgentError, match="E3303"):
            audit.append("x", who="t", target="o")
        monkeypatch.undo()
        audit.append("x", who="t", target="o")
        assert audit.verify().broken_at is None
        assert audit.count("x") == 2


def test_the_trail_is_held_against_the_outbox(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = config(tmp_path)
    with owning(settings, SystemClock()) as own:
        own.outbox.put(verification(), PICTURES, person="p", holds={})
    with owning(settings, SystemClock()) as own:
        assert own.audit.count("record.reconciled") == 1
        own.audit.append("record.accepted", who="test", target="gone")
        own.audit.append("record.accepted", who="test", target="sent")
        own.audit.append("record.delivered", who="test", target="sent")
    with caplog.at_level("ERROR"), owning(settings, SystemClock()) as own:
        assert [record.getMessage() for record in caplog.records] == ["E3304", "E3113"]
        states = {row.id: row.state for row in own.outbox.administration.list_records(None, 9)}
        assert states.pop("gone") == "quarantined"
        assert set(states.values()) == {"ready"}, "what was delivered before it went is not asked for"
        counts = own.outbox.counts()
        assert (counts.accepted, counts.difference, counts.quarantined) == (3, 0, 1)
        with pytest.raises(AgentError, match="E3111"):
            own.outbox.administration.retry("gone")
    caplog.clear()
    with caplog.at_level("ERROR"), owning(settings, SystemClock()):
        assert not caplog.records, "told once"


def test_many_threads_make_one_chain(tmp_path: Path) -> None:
    with trail(tmp_path) as audit:

        def fifty() -> None:
            for _ in range(50):
                audit.append("x", who="t", target="o")

        threads = [threading.Thread(target=fifty) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert audit.verify().broken_at is None
    assert [json.loads(line)["seq"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()] == list(
        range(1, 201)
    )
