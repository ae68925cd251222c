"""A reader on a pty: answers the document's commands with the document's bytes, paced at the set baud.

nothing there --place--> there --find 9F--> found --select 90--> selected --read 90--> read
read: find answers 80 until the card is lifted and laid down again; so does nothing there
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import tty
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from types import TracebackType

from drivers.simulator.cards import SimulatedCard, photo_block
from drivers.simulator.faults import Faults, parse_faults, spoilt

__all__ = ["SimulatedReader", "parse_faults"]

PREAMBLE = b"\xaa\xaa\xaa\x96\x69"
#: The document's worked example: 05.01-20101129-0001228293-0296863149.
SAM_ID = bytes.fromhex("05000100 09B83201 05BE1200 ADC5B111")
BITS_PER_BYTE = 10  # 8N1
#: What the pty takes in one go; the pause behind it keeps the line at its baud.
LUMP = 64
LATE_S = 2.5
UNPLUGGED_S = 1.0
#: How long the reader is empty between two cards of a loop.
GAP_S = 0.1


class Stage(Enum):
    """How far the card on the reader has come."""

    THERE = auto()
    FOUND = auto()
    SELECTED = auto()
    READ = auto()


class SimulatedReader:
    """Serves one reader until closed. With `loop_s` the cards are laid down in turn, else by `place`."""

    def __init__(
        self,
        cards: Sequence[SimulatedCard],
        portraits: Sequence[Path],
        loop_s: float | None = None,
        faults: Faults | None = None,
        baud: int = 115200,
    ) -> None:
        self.cards = list(cards)
        self._photos = [photo_block(portrait) for portrait in portraits]
        self._loop_s = loop_s
        self._faults = faults or Faults()
        self._rng = self._faults.rng()
        self._baud = baud
        self._lock = threading.Lock()
        self._card: SimulatedCard | None = None
        self._stage = Stage.THERE
        self._delivered = False
        self._next, self._due = 0, 0.0
        self._replies = 0
        self._received = bytearray()
        self._link: Path | None = None
        self._stop, self._pull = threading.Event(), threading.Event()
        self._open()
        self._thread = threading.Thread(target=self._serve, name="simulated reader", daemon=True)
        self._thread.start()

    def __enter__(self) -> SimulatedReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> str:
        """Return the device path of the line; it changes when the reader is unplugged and back."""
        return os.ttyname(self._slave)

    @property
    def delivered(self) -> bool:
        """Return whether the card on the reader was read and its bytes went out unspoilt."""
        with self._lock:
            return self._delivered

    def link(self, path: Path) -> None:
        """Keep a symlink to the line, as udev would."""
        self._link = path
        self._relink()

    def place(self, card: SimulatedCard) -> None:
        """Lay a card down."""
        with self._lock:
            self._card, self._stage, self._delivered = card, Stage.THERE, False

    def lift(self) -> None:
        """Take the card away."""
        with self._lock:
            self._card, self._delivered = None, False

    def unplug(self) -> None:
        """Let the line vanish and come back after a second."""
        self._pull.set()

    def close(self) -> None:
        """Stop serving; the line vanishes."""
        self._stop.set()
        self._thread.join()
        self._close_line()
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    # --- the line -----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._master, self._slave = os.openpty()
        # Raw, or the line discipline would echo and translate. Our own hold on the slave keeps the master
        # from failing while no client has it open.
        tty.setraw(self._slave)
        self._received.clear()

    def _close_line(self) -> None:
        os.close(self._slave)
        os.close(self._master)

    def _relink(self) -> None:
        if self._link is not None:
            draft = self._link.with_name(self._link.name + ".new")
            draft.unlink(missing_ok=True)
            draft.symlink_to(self.port)
            draft.replace(self._link)

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._turn_cards()
            if self._pull.is_set():
                self._unplugged()
            readable, _, _ = select.select([self._master], [], [], 0.02)
            if not readable:
                continue
            with contextlib.suppress(OSError):
                self._received += os.read(self._master, 4096)
            while (command := self._command()) is not None:
                self._answer(command)
            if self._faults.unplug_after and self._replies >= self._faults.unplug_after:
                self._replies = 0
                self._pull.set()

    def _unplugged(self) -> None:
        self._close_line()
        self._stop.wait(UNPLUGGED_S)
        self._open()
        self._relink()
        self._pull.clear()

    def _turn_cards(self) -> None:
        """In a loop, lay down the next card when it is due; one that was not read comes again."""
        if self._loop_s is None or time.monotonic() < self._due:
            return
        with self._lock:
            lying, delivered, stage = self._card is not None, self._delivered, self._stage
        if lying and (delivered or stage is Stage.READ):
            self._next += int(delivered)
            self.lift()
            self._due = time.monotonic() + GAP_S
        elif not lying and self._next < len(self.cards):
            self.place(self.cards[self._next])
            self._due = time.monotonic() + self._loop_s

    # --- the protocol -------------------------------------------------------------------------------

    def _command(self) -> bytes | None:
        """Return the next whole command from CMD to CHK's predecessor, None when there is none yet."""
        start = self._received.find(PREAMBLE)
        if start < 0:
            del self._received[: max(0, len(self._received) - len(PREAMBLE) + 1)]
            return None
        head = start + len(PREAMBLE)
        if len(self._received) < head + 2:
            return None
        length = self._received[head] << 8 | self._received[head + 1]
        if len(self._received) < head + 2 + length:
            return None
        counted = bytes(self._received[head : head + 2 + length])
        del self._received[: head + 2 + length]
        parity = 0
        for byte in counted:
            parity ^= byte
        if parity:
            self._send(_reply(0x10))
            return self._command()
        return counted[2:-1]

    def _answer(self, command: bytes) -> None:
        with self._lock:
            reply = self._reply_to(command)
            reading = self._stage is Stage.READ and command == b"\x30\x01"
        whole = self._send(reply)
        with self._lock:
            # Only bytes that arrived count; a card whose answer was spoilt comes again.
            if reading and whole and reply[9] == 0x90:
                self._delivered = True

    def _reply_to(self, command: bytes) -> bytes:
        if command in {b"\x10\xff", b"\x11\xff"}:
            return _reply(0x90)
        if command == b"\x12\xff":
            return _reply(0x90, SAM_ID)
        if command == b"\x20\x01":
            return self._find()
        if command == b"\x20\x02":
            return self._select()
        if command == b"\x30\x01":
            return self._read()
        if command == b"\x30\x03":
            return _reply(0x91 if self._card is not None and self._stage is Stage.READ else 0x41)
        return _reply(0x21)

    def _find(self) -> bytes:
        if self._card is None or self._stage is Stage.READ:
            return _reply(0x80)
        self._stage = Stage.FOUND
        return _reply(0x9F, bytes(4))

    def _select(self) -> bytes:
        if self._card is None or self._stage is not Stage.FOUND:
            return _reply(0x81)
        self._stage = Stage.SELECTED
        return _reply(0x90, bytes(8))

    def _read(self) -> bytes:
        if self._card is None or self._stage is not Stage.SELECTED:
            return _reply(0x41)
        self._stage = Stage.READ
        text = self._card.text_block()
        photo = self._photos[self._position() % len(self._photos)]
        return _reply(0x90, bytes.fromhex("01000400") + text + photo)

    def _position(self) -> int:
        return self.cards.index(self._card) if self._card in self.cards else 0

    def _send(self, reply: bytes) -> bool:
        """Put a reply on the line at its baud. Return whether it can be understood."""
        self._replies += 1
        if self._rng.random() < self._faults.late:
            self._stop.wait(LATE_S)
        sent, whole = spoilt(reply, self._faults, self._rng)
        for start in range(0, len(sent), LUMP):
            lump = sent[start : start + LUMP]
            self._stop.wait(len(lump) * BITS_PER_BYTE / self._baud)
            with contextlib.suppress(OSError):
                os.write(self._master, lump)
        return whole


def _reply(code: int, data: bytes = b"") -> bytes:
    length = 3 + len(data) + 1
    counted = bytes((length >> 8, length & 0xFF, 0, 0, code)) + data
    parity = 0
    for byte in counted:
        parity ^= byte
    return PREAMBLE + counted + bytes((parity,))
