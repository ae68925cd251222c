"""Files that verbs write: for their owner alone, never over one that is there unless that is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

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
