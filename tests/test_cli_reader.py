"""`devices` and `read-card` as people type them, beside the daemon and without it."""

from __future__ import annotations

import json
import os
import re
import select
import stat
import subprocess
import sys
import threading
import tty
from pathlib import Path

import cv2
import numpy as np
import pytest
from drivers_support import CARDS, simulated, until
from e2e_support import Process, Site, wait_for
from vision_support import need_weights
from watch_support import UsbDesk

from agent.catalogue import AgentError
from agent.simulate import portraits
from agent.station import watch as watching
from agent.station.loan import Loan, Read
from drivers.errors import ReaderError
from drivers.simulator.cards import photo_block
from drivers.simulator.faults import Faults
from drivers.simulator.reader import SimulatedReader
from drivers.transport.recording import RecordingTransport
from drivers.transport.serial import SerialTransport

SAM_ID = "05.01-20101129-0001228293-0296863149"
CARD = CARDS[0]


def at(site: Site, reader: SimulatedReader) -> Site:
    reader.link(site.reader_link)
    return site


def audited(site: Site) -> list[str]:
    trail = (site.folder / "state/audit.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["what"] for line in trail]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_a_card_is_shown_masked_and_revealed_only_on_the_record(site: Site) -> None:
    with simulated() as reader:
        at(site, reader)
        reader.place(CARD)
        shown = site.cli("read-card", "--json")
        assert shown.returncode == 0, shown.stderr
        card = json.loads(shown.stdout)
        assert (card["kind"], card["sex_code"], card["valid_until"]) == ("R", "2", CARD.valid_until)
        assert card["name"] == CARD.name[0] + "*" * (len(CARD.name) - 1)
        assert card["photo_block"] == {"bytes": 1024, "wlt": True}
        said = shown.stdout + shown.stderr
        assert not [text for text in CARD.personal_fields() if text in said]
        assert "card.revealed" not in audited(site)
        reader.lift()
        reader.place(CARD)
        revealed = site.cli("read-card", "--reveal", "--lang", "en")
        assert CARD.name in revealed.stdout
        assert CARD.address in revealed.stdout
        assert audited(site).count("card.revealed") == 1
        assert CARD.name not in (site.folder / "state/audit.jsonl").read_text("utf-8")
        assert site.stats()["accepted"] == 0


def test_a_transcript_is_written_for_its_owner_alone_and_plays_back(site: Site) -> None:
    file = site.folder / "reader.txt"
    with simulated() as reader:
        at(site, reader)
        reader.place(CARD)
        assert site.cli("read-card", "--record", str(file)).returncode == 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        text = file.read_text("utf-8")
        assert re.search(r"^> +\d+\.\d{3} AA AA AA 96 69 00 03 20 01 22    # find card$", text, re.MULTILINE)
        assert "# personal bytes are blanked" in text
        assert CARD.name.encode("utf-16-le").hex(" ").upper() not in text
        reader.lift()
        reader.place(CARD)
        there = site.cli("read-card", "--record", str(file))
        assert (there.returncode, "E8309" in there.stderr) == (2, True)
        settings = site.config.read_text("utf-8")
        site.config.write_text(settings.replace(str(site.reader_link), f"replay:{file}"), "utf-8")
        blanked = site.cli("read-card")
        assert [line for line in blanked.stdout.splitlines() if line.startswith("!")][:2] == [
            "! 性别代码：空白",
            "! 民族代码：空白",
        ]
        site.config.write_text(settings, "utf-8")
        assert file.read_text("utf-8") == text
        warned = site.cli(
            "read-card", "--record", str(file), "--force", "--with-personal-data", "--lang", "en"
        )
        assert "real card" in warned.stderr
        assert audited(site).count("card.recorded") == 1
        assert CARD.name.encode("utf-16-le")[:4].hex(" ").upper() in file.read_text("utf-8")
    settings = site.config.read_text("utf-8").replace(str(site.reader_link), f"replay:{file}")
    site.config.write_text(settings, "utf-8")
    played = site.cli("read-card", "--reveal", "--json")
    assert json.loads(played.stdout)["number"] == CARD.number
    assert site.cli("read-card", "--with-personal-data").returncode == 2


def test_what_goes_wrong_is_recorded_too(site: Site) -> None:
    file = site.folder / "reader.txt"
    with simulated(Faults(checksum=1.0, step="read")) as reader:
        at(site, reader)
        reader.place(CARD)
        failed = site.cli("read-card", "--record", str(file))
        assert failed.returncode == 69
        assert "E1105" in failed.stderr
        assert "# read base information" in file.read_text("utf-8")
        reader.lift()
        nothing = site.cli("read-card", "--seconds", "1")
        assert nothing.returncode == 75
        assert "E1119" in nothing.stderr


def test_devices_tells_what_is_there_and_why_not(site: Site) -> None:
    with simulated() as reader, simulated(Faults(silence=1.0)) as silent:
        at(site, reader)
        listed = json.loads(site.cli("devices", "--json").stdout)
        assert listed["daemon"] is False
        (used,) = [one for one in listed["candidates"] if one["chosen"]]
        # No udev rule and no list of ports tells of a pty: the configuration does.
        assert (used["port"], used["driver"], used["code"]) == (str(site.reader_link), "serial", None)
        assert used["sam_id"] == SAM_ID
        found = site.cli("devices", "--probe", reader.port)
        assert found.returncode == 0
        assert SAM_ID in found.stdout
        assert "E1104" in site.cli("devices", "--probe", silent.port).stderr
        other = SerialTransport(reader.port)
        held = site.cli("devices", "--probe", reader.port, "--lang", "en")
        other.close()
        assert held.returncode == 69
        assert f"({os.getpid()})" in held.stderr
        assert "E1101" in site.cli("devices", "--probe", "/dev/none").stderr
    # What doctor says of the port devices says as well.
    gone = site.cli("devices")
    assert str(site.reader_link) in gone.stdout
    assert "[E1101]" in gone.stdout
    assert _doctor(site, "port") == "E1101"


def _doctor(site: Site, check: str) -> str | None:
    codes = {one["check"]: one["code"] for one in json.loads(site.cli("doctor", "--json").stdout)}
    code: str | None = codes[check]
    return code


def test_a_reader_set_to_another_speed_is_found_by_probing(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    with SimulatedReader(CARDS, [portraits.path("collins")], baud=19200) as reader:
        at(site, reader)
        silent = site.cli("read-card", "--seconds", "5")
        assert "E1104" in silent.stderr
        assert "reader.baud" in silent.stderr
        found = json.loads(site.cli("devices", "--probe", reader.port, "--json").stdout)
        assert (found["baud"], found["sam_id"]) == (19200, SAM_ID)
        assert "reader.baud: 19200" in site.cli("devices", "--probe", reader.port).stdout
        (tmp_path / "slow").mkdir()
        slow = at(Site(tmp_path / "slow/site", {"reader": {"baud": 19200}}), reader)
        reader.place(CARD)
        assert slow.cli("read-card", "--json").returncode == 0
        assert "reader.baud" not in slow.cli("devices", "--probe", reader.port).stdout
        assert _doctor(slow, "reader") is None
        assert _doctor(site, "reader") == "E1104"


def test_something_that_answers_otherwise_is_told_apart_from_silence(site: Site) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    done = threading.Event()

    def chatter() -> None:
        while not done.is_set():
            if select.select([master], [], [], 0.05)[0] and os.read(master, 100):
                os.write(master, b'\x02{"device": "scale"}\x03\r\n')

    thread = threading.Thread(target=chatter)
    thread.start()
    said = site.cli("devices", "--probe", os.ttyname(slave))
    done.set()
    thread.join()
    os.close(slave)
    os.close(master)
    assert said.returncode == 69
    assert "E1115" in said.stderr


def test_the_decoder_is_tried_on_a_block_or_a_whole_answer(site: Site) -> None:
    block, out = site.folder / "block.wlt", site.folder / "picture.bmp"
    block.write_bytes(photo_block(portraits.path("collins")))
    tried = site.cli("devices", "--decoder-test", str(block), "--out", str(out), "--json")
    assert tried.returncode == 0, tried.stderr
    assert json.loads(tried.stdout)["kind"] == "simulated"
    image = cv2.imread(str(out))
    assert image is not None
    assert image.shape == (126, 102, 3)
    assert int(np.ptp(image)) > 50
    again = site.cli("devices", "--decoder-test", str(block), "--out", str(out))
    assert (again.returncode, "E8309" in again.stderr) == (2, True)
    block.write_bytes(bytes(1024))
    assert "E1301" in site.cli("devices", "--decoder-test", str(block)).stderr


def test_beside_the_daemon_the_reader_is_lent_and_never_amid_a_verification(site: Site) -> None:
    need_weights()
    with simulated() as reader:
        at(site, reader)
        with site.daemon() as daemon:
            wait_for("the reader is up", lambda: "[I1003]" in site.log())
            listed = json.loads(site.cli("devices", "--json").stdout)
            assert listed["daemon"] is True
            assert listed["commissioned"] == listed["reader"]["sam_id"] == SAM_ID
            asking = _in_background(site, "read-card", "--json", "--record", str(site.folder / "r.txt"))
            wait_for("the reader is lent", lambda: "[I1006]" in site.log())
            reader.place(CARD)
            shown, errors = asking.communicate(timeout=60)
            assert asking.returncode == 0, errors
            assert json.loads(shown)["photo_block"]["wlt"] is True
            assert "# read base information" in (site.folder / "r.txt").read_text("utf-8")
            # The lent card is not verified; the next one is.
            assert site.stats()["accepted"] == 0
            reader.lift()
            reader.place(CARDS[1])
            wait_for("a record is kept", lambda: site.stats()["accepted"] == 1)
            assert daemon.alive()


def _in_background(site: Site, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agent", *arguments, "--config", str(site.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_kind_of_card_can_be_rehearsed(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", {"reader": {"baud": 57600}})
    arguments = [
        "simulate",
        "reader",
        "--port-link",
        str(site.reader_link),
        "--kinds",
        "Y",
        "--baud",
        "57600",
    ]
    with Process(arguments, site.folder / "reader.log"):
        wait_for("the simulated reader is there", site.reader_link.exists)
        card = json.loads(site.cli("read-card", "--json").stdout)
        assert (card["kind"], card["nationality"], card["flaws"]) == ("Y", "VNM", [])
    wrong = site.cli("simulate", "reader", "--port-link", "/nonexistent/x", "--kinds", "Q")
    assert wrong.returncode == 2
    assert "R, J, I, Y" in wrong.stderr


def test_an_exchanged_reader_is_accepted_by_name_and_on_the_record(site: Site) -> None:
    with simulated() as reader:
        at(site, reader)
        accepted = site.cli("devices", "--accept-reader", "--json")
        assert json.loads(accepted.stdout) == {"commissioned": SAM_ID}
        assert audited(site).count("reader.commissioned") == 1


# --- the loan itself --------------------------------------------------------------------------------


def borrowed(loan: Loan, limit_s: float = 10.0) -> tuple[threading.Thread, list[str]]:
    """Borrow in a thread of its own; what it brought comes as the code of its error."""
    brought: list[str] = []

    def borrow() -> None:
        try:
            read = loan.borrow(limit_s)
        except AgentError as error:
            brought.append(error.code)
        else:
            brought.append(read.error.code if read.error else "a card")

    thread = threading.Thread(target=borrow)
    thread.start()
    return thread, brought


def test_a_loan_is_refused_amid_a_verification_and_to_a_second_borrower() -> None:
    loan = Loan()
    first, brought = borrowed(loan)
    until(lambda: not first.is_alive() or _offered(loan, idle=False))
    first.join()
    assert brought == ["E1118"]
    second, brought = borrowed(loan)
    until(lambda: _offered(loan, idle=True))
    with pytest.raises(AgentError, match="E1118"):
        loan.borrow(1.0)
    assert loan.end(None, ReaderError("E1106", status="0x41", step="read", meaning=""))
    second.join()
    assert brought == ["E1106"]
    assert not loan.out
    assert not loan.end(None)


def test_a_transcript_goes_on_over_a_line_opened_anew() -> None:
    desk = UsbDesk("two", Faults(silence=1.0))
    brought: list[Read] = []
    thread = threading.Thread(target=lambda: brought.append(desk.loan.borrow(60.0, recording=True)))
    thread.start()
    until(lambda: _offered(desk.loan, idle=True))
    desk.until(lambda: len(desk.downs()) == 2)
    desk.module.faults = Faults()
    desk.module.place(CARDS[0])
    desk.until(lambda: any(isinstance(one, watching.Lent) for one in desk.told))
    thread.join()
    sent = [entry for entry in brought[0].entries if entry.sent]
    answered = [entry for entry in brought[0].entries if not entry.sent]
    assert answered[0].at - sent[0].at > 5.0, "the silence before the reader was opened anew is in it"
    desk.pass_time(1.0)
    assert not isinstance(desk.watch._reader.line, RecordingTransport)  # type: ignore[union-attr]


def _offered(loan: Loan, *, idle: bool) -> bool:
    loan.offer(idle=idle)
    return loan.out


def test_a_loan_without_a_card_ends_by_itself() -> None:
    loan = Loan()
    thread, brought = borrowed(loan, limit_s=0.1)
    until(lambda: _offered(loan, idle=True))
    thread.join()
    assert brought == ["E1119"]
    assert not loan.out
