"""A reader on a pty: the module's replies, paced at the set baud, over a line that can be pulled out."""

from __future__ import annotations

import contextlib
import os
import select
import termios
import threading
import time
import tty
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from drivers.simulator.cards import SimulatedCard
from drivers.simulator.faults import Faults, parse_faults
from drivers.simulator.module import SAM_ID, Sent, SimulatedModule

__all__ = ["SimulatedReader", "parse_faults"]

BITS_PER_BYTE = 10  # 8N1
#: What the pty takes in one go; the pause before it keeps the line at its baud.
LUMP = 64
#: How long the reader is empty between two cards of a loop.
GAP_S = 0.1


class SimulatedReader:
    """Serves one reader until closed. With `loop_s` the cards are laid down in turn, else by `place`."""

    def __init__(
        self,
        cards: Sequence[SimulatedCard],
        portraits: Sequence[Path],
        loop_s: float | None = None,
        faults: Faults | None = None,
        baud: int = 115200,
        *,
        sam_id: bytes = SAM_ID,
        unplugged_s: float = 1.0,
    ) -> None:
        self.module = SimulatedModule(cards, portraits, faults, sam_id)
        self.cards = self.module.cards
        self.place, self.lift = self.module.place, self.module.lift
        self._loop_s = loop_s
        self._baud = baud
        self._unplugged_s = unplugged_s
        self._next, self._due = 0, 0.0
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
        return self.module.delivered

    def link(self, path: Path) -> None:
        """Keep a symlink to the line, as udev would."""
        self._link = path
        self._relink()

    def unplug(self) -> None:
        """Let the line vanish and come back after a moment."""
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
        self.module.power_up()

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
                data = os.read(self._master, 4096)
                # At another speed than its own a line carries nothing that could be understood.
                for sent in self.module.receive(data) if self._at_speed() else ():
                    self._send(sent)
            if self.module.wants_unplugging():
                self._pull.set()

    def _at_speed(self) -> bool:
        """Return whether the host has set the line to our speed; a pty keeps it like a real port."""
        speed = termios.tcgetattr(self._slave)[5]
        return bool(speed == getattr(termios, f"B{self._baud}"))

    def _unplugged(self) -> None:
        self._close_line()
        self._stop.wait(self._unplugged_s)
        self._open()
        self._relink()
        self._pull.clear()

    def _turn_cards(self) -> None:
        """In a loop, lay down the next card when it is due; one that was not read comes again."""
        if self._loop_s is None or time.monotonic() < self._due:
            return
        lying, read = self.module.occupied
        if lying and read:
            self._next += int(self.delivered)
            self.lift()
            self._due = time.monotonic() + GAP_S
        elif not lying and self._next < len(self.cards):
            self.place(self.cards[self._next])
            self._due = time.monotonic() + self._loop_s

    def _send(self, sent: Sent) -> None:
        """Put bytes on the line at its baud. A lump that was late on a busy machine delays no other."""
        self._stop.wait(sent.after_s)
        started = time.monotonic()
        for start in range(0, len(sent.data), LUMP):
            lump = sent.data[start : start + LUMP]
            due = started + (start + len(lump)) * BITS_PER_BYTE / self._baud
            self._stop.wait(max(0.0, due - time.monotonic()))
            with contextlib.suppress(OSError):
                os.write(self._master, lump)
