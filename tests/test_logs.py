"""What the journal gets: fields over its own protocol, device faults once, the reader's line without a card in it."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers_support import CARDS, simulated
from e2e_support import Site, wait_for
from hypothesis import given
from hypothesis import strategies as st

from agent import journal, logs
from agent.catalogue import entries
from agent.repeats import HOLD_S, MAX_KEPT, Repeats
from drivers.discovery import open_transport
from drivers.sdt.reader import SdtReader
from drivers.transport import traced
from drivers.transport.traced import Traced


def fields(datagram: bytes) -> dict[str, bytes]:
    """Read one datagram as the protocol's document has it, sharing nothing with the code under test."""
    found = {}
    while datagram:
        head, _, rest = datagram.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        found[name.decode()] = value
        datagram = rest
    return found


@given(
    st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True), st.text(max_size=200), max_size=8)
)
def test_any_event_is_read_back_as_it_was(given: dict[str, str]) -> None:
    read = fields(journal.encoded(given))
    assert read == {name: text.encode("utf-8", "replace") for name, text in given.items()}


def test_a_huge_value_is_cut_and_a_code_has_one_id_for_ever() -> None:
    assert len(journal.encoded({"A": "x" * 10**6})) < 64 * 1024
    assert journal.message_id("E1103") == "a7b58eb39f1d5e868246772bab1a4d12", "people's filters rely on it"
    ids = {journal.message_id(code) for code in entries()}
    assert len(ids) == len(entries())
    assert all(len(one) == 32 and int(one, 16) for one in ids)


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(20)
        yield listener


PROGRAM = """
import logging, os, sys
from agent import journal, logs
from agent.catalogue import AgentError
from pathlib import Path
journal.SOCKET = Path(sys.argv[1])
found = os.fstat(2)
env = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"} if sys.argv[2] == "ours" else {"JOURNAL_STREAM": "1:2"}
logs.set_up("zh", "info", env=env)
log = logs.get("agent.station")
logs.say(log, "I3001", record="a" * 32, person="p:1")
logs.say_error(log, AgentError("E1103", port="/dev/x"))
log.warning("one\\ntwo 11010519491231002X")
"""


def run_below(journald: socket.socket, whose: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, journald.getsockname(), whose],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def test_below_systemd_each_event_is_a_datagram_with_fields(journald: socket.socket) -> None:
    assert run_below(journald, "ours") == ""
    kept, gone, foreign = (fields(journald.recv(65536)) for _ in range(3))
    assert kept["MESSAGE"].decode() == f"已保存，请继续登记 [I3001] record={'a' * 32} person=p:1"
    assert (kept["AGENT_CODE"], kept["PRIORITY"], kept["RECORD"]) == (b"I3001", b"6", b"a" * 32)
    assert kept["MESSAGE_ID"].decode() == journal.message_id("I3001")
    assert kept["SYSLOG_IDENTIFIER"] == b"kiosk-agent"
    assert kept["AGENT_PERSON"] == b"p:1"
    assert (gone["AGENT_CODE"], gone["PRIORITY"], gone["AGENT_PORT"]) == (b"E1103", b"3", b"/dev/x")
    assert foreign["MESSAGE"] == b"agent.station: one two [#]"
    assert "AGENT_CODE" not in foreign


def test_a_stream_that_is_not_the_journals_gets_lines_with_their_priority(journald: socket.socket) -> None:
    lines = run_below(journald, "redirected").splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<3>", "<4>"]
    journald.setblocking(False)
    with pytest.raises(BlockingIOError):
        journald.recv(1)


def test_when_journald_is_away_nothing_is_lost_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = journal.JournalHandler(logging.StreamHandler(sys.stderr), tmp_path / "none")
    handler.emit(logging.LogRecord("x", logging.ERROR, "f", 1, "still told", None, None))
    handler.close()
    assert "still told" in capsys.readouterr().err


# --- repeats ----------------------------------------------------------------------------------------


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def counted(made: logging.LogRecord) -> int:
    """Return how many others a told record stands for."""
    facts: dict[str, str] = getattr(made, "agent_facts", {})
    return int(facts.get("repeated", 0))


def record(code: str, **facts: str) -> logging.LogRecord:
    level = logs.LEVELS[entries()[code].severity]
    made = logging.LogRecord("x", level, "f", 1, code, None, None)
    made.agent_code, made.agent_facts = code, facts
    return made


def test_a_fault_is_told_once_counted_and_told_again_with_the_count() -> None:
    clock = Time()
    repeats = Repeats(clock)
    assert repeats.filter(record("E1104", port="a", waited_s="1.0"))
    assert not repeats.filter(record("E1104", port="a", waited_s="1.1")), "only the wait differs"
    assert repeats.filter(record("E1104", port="b")), "another device"
    assert repeats.filter(record("E1103", port="a")), "another fault"
    assert all(repeats.filter(record("E3101")) for _ in range(2)), "no device: each one counts"
    clock.now = HOLD_S
    again = record("E1104", port="a")
    assert repeats.filter(again)
    assert counted(again) == 1
    assert not repeats.filter(record("E1104", port="a"))
    well = record("I1003", port="a")
    assert repeats.filter(well)
    assert counted(well) == 1
    assert repeats.filter(record("E1104", port="a")), "after a recovery the next fault is news"


events = st.tuples(
    st.sampled_from(["E1101", "E1104", "E2101", "E8101", "I1003", "I2002"]),
    st.sampled_from(["a", "b"]),
    st.floats(0, HOLD_S),
)


@given(st.lists(events, max_size=60))
def test_told_and_counted_make_up_all_that_happened(history: list[tuple[str, str, float]]) -> None:
    clock = Time()
    repeats = Repeats(clock)
    faults = accounted = 0
    for code, port, later in history:
        clock.now += later
        made = record(code, port=port)
        faults += code[0] == "E"
        if repeats.filter(made):
            accounted += (code[0] == "E") + counted(made)
    assert accounted + sum(held.count for held in repeats._held.values()) == faults


def test_what_is_remembered_of_faults_is_bounded() -> None:
    repeats = Repeats(Time())
    for number in range(2 * MAX_KEPT):
        assert repeats.filter(record("E1104", port=str(number)))
    assert len(repeats._held) <= MAX_KEPT


# --- traffic ----------------------------------------------------------------------------------------


def test_the_readers_line_is_shown_without_anything_of_a_card(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(traced.TRAFFIC), simulated() as sim:
        line = Traced(open_transport(sim.port), sim.port)
        reader = SdtReader(line, time.monotonic, sim.port)
        try:
            number = reader.sam_id()
            sim.place(CARDS[0])
            wait_for("the card is found", reader.find)
            reader.select()
            read = reader.read()
        finally:
            reader.close()
    told = "\n".join(entry.getMessage() for entry in caplog.records)
    assert "-> aa aa aa 96 69 00 03 30 01 32" in told, "commands are whole"
    assert "<- aa aa aa 96 69" in told
    assert re.search(r"<- aa aa aa 96 69 05 09 00 00 90 \[\d+ bytes\]|<- \[\d+ bytes\]", told)
    assert len(number) > 20
    for text in (read.name, read.number, read.address):
        for size in range(2, 4):
            pieces = [text[at : at + size].encode("utf-16-le").hex(" ") for at in range(len(text) - size + 1)]
            assert not [piece for piece in pieces if piece in told and piece.replace("00", "").strip()]


@given(st.binary(max_size=40), st.integers(1, 1400))
def test_no_piece_of_a_long_frame_is_shown_beyond_its_head(body: bytes, cut: int) -> None:
    frame = (
        b"\xaa\xaa\xaa\x96\x69"
        + (1289).to_bytes(2, "big")
        + b"\x00\x00\x90"
        + (body * 40)[:1286].ljust(1286, b"S")
    )
    for piece in (frame[:cut], frame[cut:]):
        shown = traced.received(piece)
        assert len(shown) <= 3 * traced.HEAD + 20
        assert "53 53" not in shown


def test_traffic_is_loudly_announced_and_debug_comes_and_goes_by_signal(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", {"logging": {"level": "traffic"}})
    with site.reader(1), site.daemon() as daemon:
        wait_for("traffic shows", lambda: "-> aa aa aa 96 69" in daemon.text())
        assert daemon.text().index("[W8701]") < daemon.text().index("-> aa aa aa")
        assert "W6110" in site.cli("check").stdout
        assert daemon.terminate(20) == 0
    (tmp_path / "calm").mkdir()
    calm = Site(tmp_path / "calm" / "site", {"logging": {"level": "warning"}})
    with calm.daemon() as daemon:
        wait_for("it runs", (calm.folder / "state" / "control.sock").exists)
        assert "[I8001]" not in daemon.text()
        daemon.send(signal.SIGUSR1)
        wait_for("it says more", lambda: "[I8701] level=debug" in daemon.text())
        daemon.send(signal.SIGUSR2)
        wait_for("it goes back", lambda: "[I8701] level=warning" in daemon.text())
        assert daemon.terminate(20) == 0


def test_a_traceback_shows_the_way_and_never_what_an_error_quotes() -> None:
    name = "覃小燕"

    def fails() -> None:
        try:
            int(name)
        except ValueError as cause:
            raise KeyError(name) from cause

    with pytest.raises(KeyError) as caught:
        fails()
    record = logging.LogRecord("x", logging.DEBUG, "", 0, "look", (), (caught.type, caught.value, caught.tb))
    line = logs.LineFormatter("zh").format(record)
    assert {"KeyError", "ValueError", "fails"} <= set(re.findall(r"\w+", line))
    assert name not in line
