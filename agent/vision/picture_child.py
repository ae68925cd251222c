"""The process that looks at pictures from elsewhere: started and asked by `agent.vision.pictures`.

Whatever a kiosk or a vendor's decoder calls a picture goes through a C library here, beside no camera, no
database and no key. It ends when its standard input does, or when nothing was asked for IDLE_S.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Any

from agent import images
from agent.vision.protocol import BrokenStream, Decoder, Message
from drivers.errors import CodedError, PhotoError

#: Starting costs a quarter of a second, staying 60 MB.
IDLE_S = 30.0


def _accept(picture: bytes, *, bound: int) -> Message:
    return _made(images.accepted(picture, bound))


def _shrink(picture: bytes, *, factor: float) -> Message:
    return _made(images.smaller(picture, factor))


def _encode(picture: bytes, *, target: int, bound: int) -> Message:
    return _made(images.encode(images.decode(picture), target, bound))


def _one_colour(picture: bytes) -> Message:
    return Message("judged", {"one_colour": images.one_colour(images.decode(picture))})


def _made(picture: bytes) -> Message:
    return Message("made", {}, {"picture": picture})


WORK: dict[str, Callable[..., Message]] = {
    "accept": _accept,
    "shrink": _shrink,
    "encode": _encode,
    "one_colour": _one_colour,
}


def answer(request: Message) -> Message:
    """Do what is asked. What cannot be done is `refused`, with its code and facts."""
    picture, values = request.blobs["picture"], request.values
    try:
        return WORK[request.kind](picture, **values)
    except CodedError as error:
        return _refused(error)
    except Exception:  # noqa: BLE001 -- whatever a hostile picture does to the library, it is no picture
        return _refused(PhotoError("E1303", reason=images.no_picture(picture)))


def _refused(error: CodedError) -> Message:
    facts: dict[str, Any] = dict(error.facts)
    return Message("refused", {"code": error.code, "facts": facts})


def main() -> None:
    """Serve until standard input ends or nobody asks any more."""
    # Libraries print; nothing of that may get between our messages.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import cv2

    # Beside a desk on a small PC: one core is enough for a picture now and then.
    cv2.setNumThreads(1)

    def say(message: Message) -> None:
        out.write(message.encoded())
        out.flush()

    decoder = Decoder()
    try:
        say(Message("ready"))
        while select.select([0], [], [], IDLE_S)[0] and (data := os.read(0, 1 << 20)):
            for request in decoder.feed(data):
                say(answer(request))
    except (OSError, BrokenStream):
        return  # the daemon is gone, or has given up on us


if __name__ == "__main__":
    main()
