"""Reading one card: find - select - read, over any transport.

The protocol has no sequence numbers, so a late reply would answer the next command. After a reply was
missed, the module is asked for its id, which no other answer resembles: whatever comes before the id is
old. The clock comes from outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.card import CardRecord
from drivers.errors import ReaderError, ReaderProtocolError, ReaderRefused, ReaderTimeout
from drivers.sdt import textblock
from drivers.sdt.commands import (
    FIND_CARD,
    PERMANENT,
    READ_BASE,
    READ_NEWEST_ADDRESS,
    RESEND,
    RESET_SAM,
    SAM_ID,
    SAM_STATUS,
    SELECT_CARD,
    SET_RF_BYTES,
    Command,
    Status,
    status_name,
)
from drivers.sdt.frames import Frame, FrameDecoder, Garbage, encode_command
from drivers.sdt.samid import sam_id
from drivers.transport import Transport

#: Silence within a frame after which it will not be completed. Far more than a line needs, because USB
#: bridges and a busy machine deliver in lumps; it costs time only when a frame was spoilt anyway.
INTER_BYTE_S = 0.25
#: The longest answer and its command, in bits on the wire.
LONGEST_BITS = (1295 + 10) * 10

#: Reads that a line is given to get rid of what is old; a line that talks without end is none of ours.
STALE_READS = 64

#: Find is answered "failed" both when nothing lies there and when the card was read and not lifted.
NO_CARD = frozenset({Status.FIND_FAILED, Status.NO_CARD_YET})


@dataclass(frozen=True)
class Newest:
    """What 30 03 was answered: `there` is whether the card that was read still lies there unmoved."""

    there: bool
    address: str | None = field(default=None, repr=False)


class SdtReader:
    """One reader on one line. Not for several threads.

    `patience` stretches or shortens every wait for an answer: below 1 for a line known to be quick.
    """

    def __init__(
        self,
        transport: Transport,
        monotonic: Callable[[], float],
        port: str = "",
        baud: int = 115200,
        patience: float = 1.0,
    ) -> None:
        self.line = transport
        self._wire_s = LONGEST_BITS / baud
        self._patience = patience
        self._port = port
        self._monotonic = monotonic
        self._decoder = FrameDecoder()
        self._arrived: deque[Frame | Garbage] = deque()
        self._line_clean = True

    def find(self) -> bool:
        """Return whether a card lies there that has not been read since it was laid down."""
        frame = self._ask(FIND_CARD)
        if frame.code == Status.CARD_FOUND:
            return True
        if frame.code in NO_CARD:
            return False
        raise _refused(FIND_CARD, frame.code)

    def select(self) -> None:
        """Select the card that was found. ReaderRefused when it has gone."""
        self._expect_success(SELECT_CARD)

    def read(self) -> CardRecord:
        """Read text and photo of the selected card. ReaderRefused when it was moved."""
        data = self._expect_success(READ_BASE).data
        text, photo = blocks(data)
        return textblock.parse(text, photo)

    def newest(self) -> Newest:
        """Ask for the address appended later, of a card that was read and has not moved since."""
        frame = self._ask(READ_NEWEST_ADDRESS)
        text = textblock.text_of(frame.data) if frame.code == Status.SUCCESS else ""
        return Newest(frame.code in {Status.SUCCESS, Status.NO_CONTENT}, text or None)

    def reset(self) -> None:
        """Reset the security module, as a power cycle would. ReaderError when even that is not answered.

        For a module that hangs: what is on its way then is not waited for, and passes unheard later.
        """
        self._start_afresh()
        self._send(RESET_SAM)
        frame = self._await(RESET_SAM)
        # Any status-only answer could be an old one: the next exchange asks for the id first.
        if frame.code in PERMANENT:
            raise _refused(RESET_SAM, frame.code)

    def status(self) -> int:
        """Return what the module says of itself: 90 well, 60 self-test failed, 66 not authorised."""
        return self._ask(SAM_STATUS).code

    def set_rf_bytes(self, count: int) -> None:
        """Set the most bytes of one frame between module and antenna: 24..255, 0x58 from the factory."""
        self._expect_success(SET_RF_BYTES, bytes((count,)))

    def sam_id(self) -> str:
        """Return the security module's id in its printed form."""
        return sam_id(self._expect_success(SAM_ID).data)

    def close(self) -> None:
        """Give the line back."""
        self.line.close()

    def _expect_success(self, command: Command, data: bytes = b"") -> Frame:
        frame = self._ask(command, data)
        if frame.code != Status.SUCCESS:
            raise _refused(command, frame.code)
        return frame

    def _ask(self, command: Command, data: bytes = b"") -> Frame:
        """Send a command and return its answer; once more when the reader says it did not understand us."""
        frame = self._exchange(command, data)
        return self._exchange(command, data) if frame.code in RESEND else frame

    def _exchange(self, command: Command, data: bytes) -> Frame:
        # Nothing may lie there before we asked: a late or doubled answer would be taken for the next one.
        if not self._line_clean or self.line.read(0.0):
            self._resynchronise()
        # Dirty until answered: whatever ends this exchange early leaves an answer on its way.
        self._line_clean = False
        self._arrived.clear()
        self._send(command, data)
        frame = self._await(command)
        self._line_clean = True
        return frame

    def _resynchronise(self) -> None:
        """Let every answer that is still on its way pass, by asking for one that no other resembles."""
        self._start_afresh()
        self._send(SAM_ID)
        while self._await(SAM_ID).code != Status.SUCCESS:
            pass

    def _start_afresh(self) -> None:
        """Forget what has come so far and hear out what lies there: left behind, it would spoil the next."""
        self._line_clean = False
        self._decoder = FrameDecoder()
        self._arrived.clear()
        for _ in range(STALE_READS):
            if not self.line.read(0.0):
                break

    def _send(self, command: Command, data: bytes = b"") -> None:
        self.line.write(encode_command(command.command, command.parameter, data))

    def _await(self, command: Command) -> Frame:
        """Return the next frame that can be an answer to `command`; others are old and pass unheard."""
        limit_s = (command.answer_s + self._wire_s) * self._patience
        deadline = self._monotonic() + limit_s
        garbage: Garbage | None = None
        while (left := deadline - self._monotonic()) > 0:
            silent = not self._arrived and not self._listen(left)
            while self._arrived:
                item = self._arrived.popleft()
                if isinstance(item, Garbage):
                    garbage = _worse(garbage, item)
                elif not item.data or len(item.data) in command.data:
                    return item
            if silent and garbage is not None and garbage.reason != "noise":
                # An answer came and was spoilt: waiting out the limit would only make the woman wait.
                break
        raise self._unanswered(command, limit_s, garbage)

    def _listen(self, limit_s: float) -> bool:
        """Take what arrives; within a frame, only until the line pauses. Return whether something came."""
        begun = self._decoder.pending > 0
        data = self.line.read(min(limit_s, INTER_BYTE_S * self._patience) if begun else limit_s)
        self._arrived += self._decoder.feed(data) if data else self._decoder.idle()
        return bool(data)

    def _unanswered(self, command: Command, limit_s: float, garbage: Garbage | None) -> ReaderError:
        if garbage is None or garbage.reason == "noise":
            return ReaderTimeout(port=self._port, step=command.name, waited_s=f"{limit_s:.1f}")
        return ReaderProtocolError(
            port=self._port, expected=f"answer to {command.name}", received=f"spoilt frame ({garbage.reason})"
        )


def _worse(known: Garbage | None, new: Garbage) -> Garbage:
    """Return what tells more: a spoilt frame says more than the noise around it."""
    if known is None or known.reason in {"noise", "silence"}:
        return new
    return known


def _refused(command: Command, code: int) -> ReaderError:
    if code in PERMANENT:
        return ReaderRefused("E1107", status=code, step=command.name, meaning=status_name(code))
    return ReaderRefused("E1106", status=code, step=command.name, meaning=status_name(code))


def blocks(data: bytes) -> tuple[bytes, bytes]:
    """Return text and photo by the announced lengths. ReaderProtocolError when these do not add up.

    A third length announces fingerprints: understood, and dropped here, for nobody needs them.
    """
    for count in (2, 3):
        sizes = [int.from_bytes(data[at : at + 2], "big") for at in range(0, 2 * count, 2)]
        if len(data) >= 2 * count and 2 * count + sum(sizes) == len(data):
            text_ends = 2 * count + sizes[0]
            return data[2 * count : text_ends], data[text_ends : text_ends + sizes[1]]
    raise ReaderProtocolError(expected="blocks of the announced lengths", received=f"{len(data)} bytes")
