"""Files that verbs write: for their owner alone, never over one that is there unless that is said."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent import passphrase
from agent.catalogue import AgentError
from agent.cli.files import refuse, written
from agent.cli.main import cli


def test_a_file_that_is_there_is_left_alone_unless_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    written(file, b"first", force=False)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AgentError, match="E8309"):
        written(file, b"second", force=False)
    with pytest.raises(AgentError, match="E8309"):
        refuse(file, force=False)
    assert file.read_bytes() == b"first"
    file.chmod(0o644)
    refuse(file, force=True)
    written(file, b"second", force=True)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"second", 0o600)
    refuse(tmp_path / "none", force=False)
    refuse(None, force=False)


def test_a_link_that_leads_nowhere_is_there_as_well(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AgentError, match="E8309"):
        refuse(link, force=False)
    with pytest.raises(AgentError, match="E8309"):
        written(link, b"x", force=False)
    assert not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_written_says_so_and_leaves_no_half(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="E8308"):
        written(tmp_path / "no/where", b"x", force=False)
    mode = os.stat("/dev/full").st_mode
    with pytest.raises(AgentError, match="E8308"):
        written(Path("/dev/full"), b"x", force=True)
    assert os.stat("/dev/full").st_mode == mode, "a device is neither ours to lock nor to remove"


def test_every_verb_that_writes_what_can_be_made_again_knows_force() -> None:
    verbs = (("capture",), ("read-card",), ("devices",), ("support-bundle",), ("config", "generate"))
    for verb in verbs:
        assert "--force" in CliRunner().invoke(cli, [*verb, "--help"]).output, verb
    for verb in (("outbox", "export"), ("keys", "backup")):
        assert "--force" not in CliRunner().invoke(cli, [*verb, "--help"]).output, verb


# --- files under a passphrase -----------------------------------------------------------------------


def sealed(path: Path) -> passphrase.Writer:
    return passphrase.Writer(path, "export", b"k" * 16, b"0" * 16)


def fill(writer: passphrase.Writer, piece: int) -> None:
    for _ in range(100):
        writer.add(b"x" * piece)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="a file system to fill needs root")
@pytest.mark.parametrize("piece", [3_000, 200_000], ids=["small pieces", "a large one"])
def test_a_full_stick_is_named_and_keeps_no_half_of_an_export(tmp_path: Path, piece: int) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(stick)], check=True)
    try:
        writer = sealed(stick / "records")
        with pytest.raises(AgentError) as full:
            fill(writer, piece)
        assert (full.value.code, full.value.facts["path"]) == ("E8308", str(stick / "records"))
        writer.abandon()
        assert list(stick.iterdir()) == []
    finally:
        subprocess.run(["umount", str(stick)], check=True)


def test_an_export_reaches_the_disk_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, on_disk = os.fsync, [0]

    def noted(file: int) -> None:
        sync(file)
        on_disk.append(os.fstat(file).st_size)

    monkeypatch.setattr(passphrase, "SYNC_BYTES", 1000)
    writer = sealed(tmp_path / "records")
    with monkeypatch.context() as context:
        context.setattr("os.fsync", noted)
        for _ in range(20):
            writer.add(b"x" * 300)
    assert len(on_disk) > 4
    assert max(after - before for before, after in pairwise(on_disk)) < 2000
    writer.close()
    assert passphrase.Reader(tmp_path / "records", "export").verify(b"k" * 16) == 20
