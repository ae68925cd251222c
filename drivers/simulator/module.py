"""The security module and the card on it: commands in, replies out, as the document has them. No line.

    nothing there --place--> there --find 9F--> found --select 90--> selected --read 90--> read

strict firmware answers find with 80 once the card was read, until it is lifted and laid down again;
lenient firmware answers 9F for as long as it lies there.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from drivers.simulator.cards import SimulatedCard, photo_block
from drivers.simulator.faults import Faults, Spoiler

PREAMBLE = b"\xaa\xaa\xaa\x96\x69"
#: The document's worked example: 05.01-20101129-0001228293-0296863149.
SAM_ID = bytes.fromhex("05000100 09B83201 05BE1200 ADC5B111")
#: One finger's 512 bytes: 'C', made-up algorithm codes, enrolled, right thumb, quality 100, filler.
FINGER = bytes.fromhex("43 01 00 00 01 0B 64") + bytes(505)

_STEPS = {
    b"\x10\xff": "reset",
    b"\x11\xff": "status",
    b"\x12\xff": "id",
    b"\x20\x01": "find",
    b"\x20\x02": "select",
    b"\x30\x01": "read",
    b"\x30\x10": "fingers",
    b"\x30\x03": "newest",
    **{bytes((0x60, rate)): "baud" for rate in range(5)},
    b"\x61\xff": "rf",
}


class Stage(Enum):
    """How far the card on the reader has come."""

    THERE = auto()
    FOUND = auto()
    SELECTED = auto()
    READ = auto()


@dataclass(frozen=True)
class Sent:
    """Bytes that leave the module `after_s` after what was sent before them."""

    data: bytes
    after_s: float = 0.0


class SimulatedModule:
    """One module. `place`, `lift` and the properties may be used from any thread."""

    def __init__(
        self,
        cards: Sequence[SimulatedCard],
        portraits: Sequence[Path],
        faults: Faults | None = None,
        sam_id: bytes = SAM_ID,
    ) -> None:
        self.cards = list(cards)
        self._photos = [photo_block(portrait) for portrait in portraits]
        self._sam_id = sam_id
        self._lock = threading.RLock()
        self._spoiler = Spoiler(faults or Faults())
        self._card: SimulatedCard | None = None
        self._stage = Stage.THERE
        self._delivered = False
        self._replies = 0
        self._hangs = False
        self._received = bytearray()

    @property
    def faults(self) -> Faults:
        """The faults in force; another set starts its counts anew."""
        return self._spoiler.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._lock:
            self._spoiler, self._replies, self._hangs = Spoiler(faults), 0, False

    @property
    def delivered(self) -> bool:
        """Return whether the card on the reader was read and its bytes went out unspoilt."""
        with self._lock:
            return self._delivered

    @property
    def occupied(self) -> tuple[bool, bool]:
        """Return whether a card lies there, and whether it was read."""
        with self._lock:
            return self._card is not None, self._stage is Stage.READ

    def place(self, card: SimulatedCard) -> None:
        """Lay a card down."""
        with self._lock:
            self._card, self._stage, self._delivered = card, Stage.THERE, False

    def lift(self) -> None:
        """Take the card away."""
        with self._lock:
            self._card, self._delivered = None, False

    def power_up(self) -> None:
        """Forget everything, as after a loss of power; a card that lies there is there anew."""
        with self._lock:
            self._received.clear()
            self._stage, self._hangs, self._replies = Stage.THERE, False, 0

    def wants_unplugging(self) -> bool:
        """Return whether the line is to go away now."""
        with self._lock:
            limit = self.faults.unplug_after
            due = bool(limit) and self._replies >= limit
            if due:
                self._replies = 0
            return due

    def receive(self, data: bytes) -> list[Sent]:
        """Take bytes from the host, as they come. Return what goes back."""
        with self._lock:
            self._received += data
            sent: list[Sent] = []
            while (command := self._command()) is not None:
                sent += self._answer(command)
            return sent

    # --- the protocol -------------------------------------------------------------------------------

    def _command(self) -> bytes | None:
        """Return the next whole command with its checksum, None when there is none yet."""
        start = self._received.find(PREAMBLE)
        if start < 0:
            del self._received[: max(0, len(self._received) - len(PREAMBLE) + 1)]
            return None
        head = start + len(PREAMBLE)
        if len(self._received) < head + 2:
            return None
        end = head + 2 + (self._received[head] << 8 | self._received[head + 1])
        if len(self._received) < end:
            return None
        counted = bytes(self._received[head:end])
        del self._received[:end]
        return counted

    def _answer(self, counted: bytes) -> list[Sent]:
        command = counted[2:4]
        step = _STEPS.get(command, "")
        if self._silent(step):
            return []
        spoiling, faults = self._spoiler.applies(step), self.faults
        if spoiling and step in {"find", "select", "read", "newest"} and self._spoiler.happens(faults.pull):
            self.lift()
        reply = _reply(0x10) if _parity(counted) else self._reply_to(step)
        if spoiling and faults.status and reply[9] in {0x90, 0x91, 0x9F} and self._spoiler.happens(1.0):
            reply = _reply(faults.status)
        thinking = {"find": faults.find_s, "select": faults.select_s, "read": faults.read_s}.get(step, 0.0)
        if spoiling and self._spoiler.happens(faults.late):
            thinking += faults.late_s
        pieces, whole = self._spoiler.spoilt(reply) if spoiling else ([reply], True)
        # Only bytes that arrived count; a card whose answer was spoilt comes again.
        self._delivered |= step in {"read", "fingers"} and whole and reply[9] == 0x90
        return [Sent(piece, 0.0 if at else thinking) for at, piece in enumerate(pieces)]

    def _silent(self, step: str) -> bool:
        """Return whether the module hangs. A reset wakes it."""
        limit = self.faults.hang_after
        if self._hangs and step == "reset":
            self.power_up()
        elif limit and not self._hangs and self._replies >= limit and self._spoiler.applies(step):
            self._hangs = self._spoiler.happens(1.0)
        self._replies += 1
        return self._hangs

    def _reply_to(self, step: str) -> bytes:
        if step == "id" and not self.faults.no_id:
            return _reply(0x90, self._sam_id)
        if step == "reset":
            self._stage = Stage.THERE
        if step in {"reset", "status", "baud", "rf"}:
            return _reply(0x90)
        if step == "find":
            return self._find()
        if step == "select":
            return self._select()
        if step in {"read", "fingers"}:
            return self._read(fingers=step == "fingers")
        if step == "newest" and not self.faults.no_newest:
            return self._newest()
        return _reply(0x21)

    def _find(self) -> bytes:
        if self._card is None or (self._stage is Stage.READ and not self.faults.lenient):
            return _reply(0x80)
        self._stage = Stage.FOUND
        return _reply(0x9F, bytes(4))

    def _select(self) -> bytes:
        if self._card is None or not (self._stage is Stage.FOUND or self.faults.tolerant):
            return _reply(0x81)
        self._stage = Stage.SELECTED
        return _reply(0x90, bytes(8))

    def _read(self, *, fingers: bool) -> bytes:
        if self._card is None or not (self._stage is Stage.SELECTED or self.faults.tolerant):
            return _reply(0x41)
        self._stage = Stage.READ
        text, photo = self._card.text_block(), self._photos[self._position() % len(self._photos)]
        if not fingers:
            return _reply(0x90, bytes.fromhex("01000400") + text + photo)
        prints = FINGER * self._card.fingers
        return _reply(0x90, b"\x01\x00\x04\x00" + len(prints).to_bytes(2, "big") + text + photo + prints)

    def _newest(self) -> bytes:
        if self._card is None or self._stage is not Stage.READ:
            return _reply(0x41)
        return _reply(0x90, self._card.newest_block()) if self._card.newest_address else _reply(0x91)

    def _position(self) -> int:
        return self.cards.index(self._card) if self._card in self.cards else 0


def _parity(counted: bytes) -> int:
    parity = 0
    for byte in counted:
        parity ^= byte
    return parity


def _reply(code: int, data: bytes = b"") -> bytes:
    length = 3 + len(data) + 1
    counted = bytes((length >> 8, length & 0xFF, 0, 0, code)) + data
    return PREAMBLE + counted + bytes((_parity(counted),))
