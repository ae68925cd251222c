"""Reading one card: find - select - read, over any transport.

The protocol has no sequence numbers, so a late reply would answer the next command. After a reply was
missed, the module is asked for its id, which no other answer resembles: whatever comes before the id is
old. The clock comes from outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from drivers.card import CardRecord
from drivers.errors import ReaderError, ReaderProtocolError, ReaderRefused, ReaderTimeout
from drivers.sdt import textblock
from drivers.sdt.commands import (
    FIND_CARD,
    PERMANENT,
    READ_BASE,
    READ_NEWEST_ADDRESS,
    RESEND,
    SAM_ID,
    SELECT_CARD,
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

#: Find is answered "failed" both when nothing lies there and when the card was read and not lifted.
NO_CARD = frozenset({Status.FIND_FAILED, Status.NO_CARD_YET})


class SdtReader:
    """One reader on one line. Not for several threads."""

    def __init__(
        self, transport: Transport, monotonic: Callable[[], float], port: str = "", baud: int = 115200
    ) -> None:
        self._transport = transport
        self._wire_s = LONGEST_BITS / baud
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
        text, photo = _blocks(data)
        return textblock.parse(text, photo)

    def newest_address(self) -> str | None:
        """Return the address appended later; None where there is none, or the reader lacks the command."""
        frame = self._ask(READ_NEWEST_ADDRESS)
        if frame.code != Status.SUCCESS:
            return None
        return frame.data.decode("utf-16-le", errors="surrogatepass").strip(" \0\u3000") or None

    def sam_id(self) -> str:
        """Return the security module's id in its printed form."""
        return sam_id(self._expect_success(SAM_ID).data)

    def close(self) -> None:
        """Give the line back."""
        self._transport.close()

    def _expect_success(self, command: Command) -> Frame:
        frame = self._ask(command)
        if frame.code != Status.SUCCESS:
            raise _refused(command, frame.code)
        return frame

    def _ask(self, command: Command) -> Frame:
        """Send a command and return its answer; once more when the reader says it did not understand us."""
        frame = self._exchange(command)
        return self._exchange(command) if frame.code in RESEND else frame

    def _exchange(self, command: Command) -> Frame:
        # Nothing may lie there before we asked: a late or doubled answer would be taken for the next one.
        if not self._line_clean or self._transport.read(0.0):
            self._resynchronise()
        # Dirty until answered: whatever ends this exchange early leaves an answer on its way.
        self._line_clean = False
        self._arrived.clear()
        self._send(command)
        frame = self._await(command)
        self._line_clean = True
        return frame

    def _resynchronise(self) -> None:
        """Let every answer that is still on its way pass, by asking for one that no other resembles."""
        self._decoder = FrameDecoder()
        self._arrived.clear()
        self._send(SAM_ID)
        while self._await(SAM_ID).code != Status.SUCCESS:
            pass

    def _send(self, command: Command) -> None:
        self._transport.write(encode_command(command.command, command.parameter))

    def _await(self, command: Command) -> Frame:
        """Return the next frame that can be an answer to `command`; others are old and pass unheard."""
        limit_s = command.answer_s + self._wire_s
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
        data = self._transport.read(min(limit_s, INTER_BYTE_S) if begun else limit_s)
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


def _blocks(data: bytes) -> tuple[bytes, bytes]:
    """Return text and photo by the announced lengths. ReaderProtocolError when these do not add up."""
    if len(data) < 4:
        raise ReaderProtocolError(expected="two block lengths", received=f"{len(data)} bytes")
    text_size, photo_size = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    if 4 + text_size + photo_size != len(data):
        announced = 4 + text_size + photo_size
        raise ReaderProtocolError(expected=f"{announced} bytes of blocks", received=len(data))
    return data[4 : 4 + text_size], data[4 + text_size :]
