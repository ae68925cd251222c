"""Faults that no other test has a reason to bring about, each by its real cause: every code was met once."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import codes_seen
import numpy as np
import pytest
from click.testing import CliRunner
from e2e_support import Site, wait_for
from outbox_support import PICTURES, HandClock, open_outbox, verification

from agent import images, keys, service
from agent.audit import Audit
from agent.board import Board
from agent.catalogue import AgentError
from agent.cli import demo, setup
from agent.cli.main import cli
from agent.cli.options import Settings
from agent.clock import SystemClock
from agent.config import load
from agent.console import view
from agent.control import ControlServer
from agent.control.protocol import Caller
from agent.control.verbs import Powers, handlers
from agent.face import reasons
from agent.housekeeping import Housekeeping
from agent.ops import conditions, devices, reach
from agent.ops.checking import Check, run
from agent.ops.glance import glance
from agent.outbox import owner, transfer
from agent.ownership import owning
from agent.vision.process import Vision
from drivers.access import Account

ME = Caller(os.getuid(), os.getpid())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_a_trail_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="E3301"):
        Audit(tmp_path / "none" / "audit.jsonl", b"k" * 32, SystemClock())


def test_an_outbox_that_was_closed(tmp_path: Path) -> None:
    with open_outbox(tmp_path, HandClock()) as outbox:
        pass
    with pytest.raises(AgentError, match="E3105"):
        outbox.counts()


def test_a_setting_of_the_database_that_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite3.connect(tmp_path / "x.db").close()
    monkeypatch.setattr(owner, "PRAGMAS", {**owner.PRAGMAS, "page_size": ("3", 3)})
    with pytest.raises(AgentError, match="E3106"):
        owner.connect(tmp_path / "x.db")


def test_an_interpreter_with_too_old_a_sqlite_is_not_let_near_the_records(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite before 3.37 calls a file with STRICT tables malformed: it would be taken for damaged."""
    with open_outbox(tmp_path, HandClock()) as outbox:
        outbox.put(verification(), PICTURES, person="p", holds={})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with monkeypatch.context() as older:
        older.setattr(sqlite3, "sqlite_version", "3.34.1")
        older.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        for look in (lambda: open_outbox(tmp_path, HandClock()), lambda: glance(tmp_path)):
            with pytest.raises(AgentError, match="E3140"):
                look()
        # What an upgrade asks of the new version before it is put in force.
        asked = CliRunner().invoke(cli, ["check", "--no-env", "--config", str(site.config)])
    assert isinstance(asked.exception, AgentError)
    assert asked.exception.code == "E3140"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_record_of_which_a_row_is_missing(tmp_path: Path) -> None:
    with open_outbox(tmp_path, HandClock()) as outbox:
        outbox.put(verification(), PICTURES, person="p", holds={})
    with sqlite3.connect(tmp_path / "outbox.db") as connection:
        connection.execute("DELETE FROM body WHERE kind LIKE '%camera%'")
    connection.close()
    with open_outbox(tmp_path, HandClock()) as outbox:
        (fault,) = [one for one in outbox.administration.check(0) if one.code]
    codes_seen.saw(fault.code)
    assert fault.code == "E3121"


def test_what_is_no_record_is_not_imported(site: Site) -> None:
    with owning(load(site.config), SystemClock()) as own:
        verbs = handlers(Powers(own))
        with pytest.raises(AgentError, match="E3124"):
            verbs["outbox.import"]({"piece": "*", "label": "x", "key": "00" * 32}, ME)


def test_a_key_that_cannot_be_written_and_one_that_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AgentError, match="E7205"):
        keys.write_key(tmp_path / "file" / "key", b"x")
    secret = tmp_path / "seal"
    site = Site(tmp_path / "site", {"keys": {"seal": {"file": str(secret)}}})
    keys.write_key(secret, b"a" * 64)
    with owning(load(site.config), SystemClock()):
        pass
    keys.write_key(keys.next_to(secret), b"b" * 64)
    before = set(codes_seen._seen)
    with owning(load(site.config), SystemClock()) as own:
        assert own.audit.count("keys.rotated") == 1
    assert "I7302" in codes_seen._seen | before


def test_a_picture_that_cannot_be_encoded() -> None:
    with pytest.raises(AgentError, match="E2502"):
        images._encoded(np.zeros((1, 70000, 3), np.uint8), 90)  # JPEG ends at 65535


def test_a_camera_that_belongs_to_another_group(site: Site) -> None:
    lens = Path("/dev/shm") / f"kiosk-agent-rights-{os.getpid()}"
    lens.touch(mode=0o600)
    config = load(site.config)
    camera = config.camera.model_copy(update={"source": str(lens)})
    ours = config.model_copy(update={"camera": camera})
    try:
        check = Check(
            "c", lambda: devices.camera_device(ours, Account("x", 64321, frozenset()), daemon=False)
        )
        assert run([check], 60)[0].code == "E2102"
    finally:
        lens.unlink()


def test_a_line_on_which_nobody_answers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "CONNECT_S", 0.5)
    config = load(site.config)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        host, port = silent.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:  # a full backlog: the next connection is neither taken nor refused
                one.setblocking(False)
                one.connect_ex((host, port))
            platform = config.platform.model_copy(update={"base_url": f"http://{host}:{port}"})
            way = reach.Way(config.model_copy(update={"platform": platform}))
            assert run([Check("line", way.line)], 60)[0].code == "E4102"
        finally:
            for one in waiting:
                one.close()


def test_a_loop_that_does_not_end_is_named_and_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(service, "STOP_S", 0.3)
    monkeypatch.setattr(Housekeeping, "run", lambda *_: release.wait())
    before = "W8102" in codes_seen._seen
    with service.running(load(site.config), SystemClock()):
        pass
    release.set()
    assert before or "W8102" in codes_seen._seen


def test_a_socket_that_cannot_be_made_and_one_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="E8205"):
        ControlServer(tmp_path / ("x" * 120), {})
    if os.geteuid() != 0:
        pytest.skip("acting as another account needs root")
    program = (
        "import os, sys; from pathlib import Path; from agent.control.client import call; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: call(Path(sys.argv[1]), 'status')\n"
        "except Exception as error: print(error)"
    )
    # Not below pytest's own folder, which lets nobody in.
    with TemporaryDirectory() as folder, ControlServer(Path(folder) / "control.sock", {}):
        Path(folder).chmod(0o755)
        command = [sys.executable, "-c", program, folder]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    codes_seen.saw(said)
    assert said.startswith("E8207"), said


def test_a_demo_that_does_not_finish_and_one_whose_log_names_a_person() -> None:
    program = "from agent.cli import demo, main; demo.PATIENCE_S = 0; raise SystemExit(main._main(['demo']))"
    late = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    codes_seen.saw(late.stderr)
    assert (late.returncode, "E8107" in late.stderr) == (75, True)

    class Card:
        def personal_fields(self) -> list[str]:
            return ["韦某某"]

    class Stage:
        log = Path(__file__)  # it holds that name: here

        class reader:  # noqa: N801 -- stands for an attribute
            cards = (Card(),)

    teller = demo.Teller.__new__(demo.Teller)
    teller._stage = Stage()  # type: ignore[assignment]
    with pytest.raises(AgentError, match="E8108"):
        teller._check_log()


def test_the_vision_process_killed_while_idle_is_told(site: Site) -> None:
    config = load(site.config)
    vision = Vision(config.camera, config.face, config.images, SystemClock(), None, lambda _: None)
    before = "W2304" in codes_seen._seen
    vision.start()
    try:
        wait_for("it runs", lambda: vision._process is not None and vision._process.pid is not None)
        assert vision._process is not None
        assert vision._process.pid is not None
        os.kill(vision._process.pid, 9)
        wait_for("it is told", lambda: before or "W2304" in codes_seen._seen)
    finally:
        vision.close()


def test_what_a_person_says_of_reader_and_time_is_refused_where_it_cannot_be(site: Site) -> None:
    with owning(load(site.config), SystemClock()) as own:
        verbs = handlers(Powers(own))
        for verb, args, code in (
            ("reader.commission", {}, "E1117"),
            ("clock.set", {"id": verification().id, "at": "tomorrow"}, "E7505"),
        ):
            with pytest.raises(AgentError, match=code):
                verbs[verb](args, ME)


def test_a_record_that_went_unreadable_on_the_other_machine_is_named(site: Site) -> None:
    head = json.dumps(
        {"version": transfer.VERSION, "meta": {"id": "a" * 32}, "bodies": {}, "unreadable": "E7101"}
    )
    entry = struct.pack(transfer._LENGTH.format, len(head)) + head.encode()
    with owning(load(site.config), SystemClock()) as own, pytest.raises(AgentError, match="E3125"):
        own.outbox.administration.import_entry(entry, own.pseudonyms.full)


@pytest.mark.parametrize(("reason", "code"), sorted(reasons.SENTENCES.items()))
def test_every_reason_has_a_sentence_for_the_registrar(reason: str, code: str) -> None:
    board = Board(SystemClock())
    board.post("hint", reason=reason, code=reasons.sentence(reason))
    looking = {"desk": {"preview": True}, **board.snapshot()}
    stage = view.stage({**looking, "screen": {"state": "busy", "code": "I1002"}}, [], [], "zh", shown=False)
    assert stage["hint"]["code"] == code
    assert stage["hint"]["do"]
    assert not conditions.problems({"daemon": True, "topics": looking}, SystemClock().now()), "her next step"


def test_setting_up_without_rights_without_secrets_and_with_a_unit_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "site", {"platform": {"authorization": {"credential": "ticket", "file": None}}})
    config = load(site.config)
    monkeypatch.setattr(keys, "SECRETS", tmp_path / "secrets")
    with pytest.raises(AgentError, match="E7208"):
        setup._take_secrets(Settings(), config)
    # Encrypted for a systemd that knows how to decrypt it: not handed over by one that does not.
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/ticket.cred").touch()
    with monkeypatch.context() as bare:
        bare.setenv("PATH", str(tmp_path / "none"))
        with pytest.raises(AgentError, match="E7209"):
            setup._take_secrets(Settings(), config)
        (tmp_path / "secrets/ticket").touch()
        setup._take_secrets(Settings(), config)
        (tmp_path / "secrets/ticket").unlink()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("systemctl", "journalctl"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    with pytest.raises(AgentError, match="E8313"):
        setup._systemctl("restart", "kiosk-agent")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = CliRunner().invoke(cli, ["setup", "--config", str(site.config)]).exception
    assert isinstance(refused, AgentError)
    assert refused.code == "E8310"
