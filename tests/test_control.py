"""The control socket with real clients, bad ones too; the lock; systemd's datagrams; the unit."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from admin_support import open_way

from agent.catalogue import AgentError
from agent.control import Caller, ControlServer, NotRunning, call, client, protocol
from agent.control.ask import ask
from agent.control.client import socket_path
from agent.lock import StateLock
from agent.notify import notify, watchdog_interval_s
from agent.ops.access import acting_as
from drivers.access import Account

SYSTEMD = Path(__file__).parent.parent / "systemd"


def refusing(_args: Any, _caller: Caller) -> Any:
    raise AgentError("E3115", record="r1")


def failing(_args: Any, _caller: Caller) -> Any:
    raise KeyError("something personal")


HANDLERS = {
    "echo": lambda args, caller: {"args": args, "uid": caller.uid, "pid": caller.pid, "name": caller.name},
    "refuse": refusing,
    "fail": failing,
}


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with ControlServer.at(tmp_path, {}, HANDLERS):
        yield tmp_path


def test_a_call_and_who_made_it(server: Path) -> None:
    answer = call(server, "echo", {"x": "汉"})
    assert answer["args"] == {"x": "汉"}
    assert (answer["uid"], answer["pid"]) == (os.getuid(), os.getpid())
    assert answer["name"]
    assert (server / "control.sock").stat().st_mode & 0o777 == 0o660


@pytest.mark.needs_root
def test_the_group_asks_although_the_state_directory_is_closed_to_it(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registrar's account is in the group and nothing more: it may use the socket, not look at the data."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it acts as another account")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.chown(server / "control.sock", -1, 64321)
    open_way(tmp_path)
    monkeypatch.setattr(client, "SYSTEM_STATE", closed)
    monkeypatch.setattr(client, "SYSTEM_SOCKET", server / "control.sock")
    with acting_as(Account("registrar", 64320, frozenset({64321}))):
        assert call(closed, "echo", {"x": 1})["args"] == {"x": 1}
    with acting_as(Account("stranger", 64320, frozenset({64320}))), pytest.raises(AgentError) as refused:
        call(closed, "echo")
    assert refused.value.code == "E8207"


def test_a_claimed_name_is_kept_beside_the_kernels() -> None:
    assert Caller(0, 1, "").name == "root"
    assert Caller(0, 1, "wang").name == "root/wang"
    assert Caller(4_000_000, 1).name == "uid4000000"


@pytest.mark.parametrize(("verb", "code"), [("refuse", "E3115"), ("nothing", "E8202"), ("fail", "E8203")])
def test_errors_come_back_under_their_code_and_without_values(server: Path, verb: str, code: str) -> None:
    with pytest.raises(AgentError, match=code) as refused:
        call(server, verb)
    assert "personal" not in str(refused.value)
    assert call(server, "echo")["args"] == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"\n",
        b"not json\n",
        b"[]\n",
        b'{"verb": 1}\n',
        b'{"verb": "echo", "args": 7}\n',
        b"half a line",
        b"x" * (protocol.MAX_LINE + 5),
    ],
)
def test_garbage_is_answered_or_dropped_and_the_next_caller_is_served(server: Path, raw: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server / "control.sock"))
        try:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(4096)
        except OSError:
            answer = b""
    assert b"E8201" in answer or answer == b""
    assert call(server, "echo")["args"] == {}


def test_a_silent_caller_does_not_hold_up_others(server: Path) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for one in silent:
        one.connect(str(server / "control.sock"))
    assert call(server, "echo")["args"] == {}
    for one in silent:
        one.close()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with ControlServer.at(tmp_path, {}, HANDLERS):
        assert call(tmp_path, "echo")["args"] == {}
        with pytest.raises(AgentError, match="E8204"):
            ControlServer.at(tmp_path, {}, HANDLERS)
    with pytest.raises(NotRunning):
        call(tmp_path, "echo")


def test_systemds_runtime_directory_holds_the_socket(tmp_path: Path) -> None:
    assert socket_path(tmp_path, {"RUNTIME_DIRECTORY": "/run/kiosk-agent"}) == Path(
        "/run/kiosk-agent/control.sock"
    )


def test_a_lock_names_its_holder_and_goes_with_its_process(tmp_path: Path) -> None:
    program = "import sys, time\nfrom pathlib import Path\nfrom agent.lock import StateLock\n"
    program += f"lock = StateLock(Path({str(tmp_path)!r}))\nprint('held', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AgentError, match="E8301") as taken:
            StateLock(tmp_path)
        assert taken.value.facts["pid"] == str(holder.pid)
        holder.kill()
        holder.wait()
        with StateLock(tmp_path):
            pass


def test_without_a_daemon_the_same_verb_runs_in_process(tmp_path: Path) -> None:
    from test_keys_audit import config

    settings = config(tmp_path)
    counts = ask(settings, "outbox.stats")
    assert (counts["accepted"], counts["difference"]) == (0, 0)
    with pytest.raises(AgentError, match="E3110"):
        ask(settings, "outbox.retry", {"id": "f" * 32})
    status = ask(settings, "status")
    assert status["daemon"] is False


def test_with_a_daemon_in_the_way_of_the_lock_but_no_socket_the_owner_is_named(tmp_path: Path) -> None:
    from test_keys_audit import config

    settings = config(tmp_path)
    ask(settings, "status")
    with StateLock(Path(settings.state_dir)), pytest.raises(AgentError, match="E8301"):
        ask(settings, "status")


@pytest.mark.needs_root
def test_root_asking_leaves_no_file_of_its_own(tmp_path: Path) -> None:
    from test_keys_audit import config

    if os.geteuid() != 0:
        pytest.skip("needs root: it acts as the state directory's owner")
    settings = config(tmp_path)
    state = Path(settings.state_dir)
    state.mkdir()
    os.chown(state, 12345, 12345)
    open_way(tmp_path)
    ask(settings, "outbox.stats")
    owners = {path.stat().st_uid for path in state.rglob("*")}
    assert owners == {12345}
    assert os.geteuid() == 0


def test_a_silent_caller_does_not_hold_up_the_close(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        with ControlServer.at(tmp_path, {}, HANDLERS):
            silent.connect(str(tmp_path / "control.sock"))
            assert call(tmp_path, "echo")["args"] == {}
            started = time.monotonic()
        assert time.monotonic() - started < 3


# --- systemd ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_by_one_datagram(tmp_path: Path, abstract: bool) -> None:
    address = f"\0kiosk-agent-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        notify("READY=1\nSTATUS=可以刷卡", {"NOTIFY_SOCKET": address.replace("\0", "@")})
        assert listener.recv(100).decode() == "READY=1\nSTATUS=可以刷卡"
    notify("READY=1", {})
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_a_manager_that_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        deaf.bind(address)
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(b"WATCHDOG=1", address)
        notify("WATCHDOG=1", {"NOTIFY_SOCKET": address})


def test_the_watchdogs_interval_is_half_its_limit() -> None:
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000"}) == 15.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_interval_s({}) is None


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as shipped, but for the program, which here is one that exists, and is not installed."""
    text = (SYSTEMD / "kiosk-agent.service").read_text("utf-8")
    path = tmp_path / "kiosk-agent.service"
    path.write_text(text.replace("/usr/bin/kiosk-agent", shutil.which("true") or "/bin/true"), "utf-8")
    return path


def test_the_unit_is_clean_by_systemds_own_word(unit: Path) -> None:
    checked = analyze("verify", "--man=no", str(unit))
    # Its exit status is 0 for unknown keys: what counts is that it has nothing to say.
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_wrong_line_in_the_unit_would_be_noticed(unit: Path) -> None:
    unit.write_text(unit.read_text("utf-8").replace("UMask=0077", "UMaks=0077"), "utf-8")
    assert "UMaks" in analyze("verify", str(unit)).stderr


def test_the_units_exposure_is_low(unit: Path) -> None:
    checked = analyze("security", "--offline=yes", "--threshold=13", str(unit))
    assert checked.returncode == 0, checked.stdout


def test_the_unit_starts_what_is_installed_and_waits_for_readiness() -> None:
    text = (SYSTEMD / "kiosk-agent.service").read_text("utf-8")
    assert "ExecStart=/usr/bin/kiosk-agent run --config /etc/kiosk-agent/config.yaml" in text
    assert "Type=notify" in text
    assert "RestartPreventExitStatus=78 243" in text


def test_each_line_of_the_unit_is_explained() -> None:
    lines = (SYSTEMD / "kiosk-agent.service").read_text("utf-8").splitlines()
    unexplained, above = [], ""
    for line in lines:
        key = line.partition("=")[0]
        # A comment stands directly above a line, or above the first of several of one kind.
        if line and not line.startswith(("#", "[")) and not above.startswith(("#", key)):
            unexplained.append(key)
        above = line
    assert unexplained == ["Description", "Documentation", "LogRateLimitBurst", "WantedBy"]
