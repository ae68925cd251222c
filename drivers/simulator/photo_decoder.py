"""A photo decoder program for simulated blocks: the block on standard input, a BMP on standard output.

It refuses whatever does not carry the simulator's mark, a real chip's block above all: what it made of
one would look like a decoded photograph and be none.
"""

from __future__ import annotations

import sys

HEAD = bytes.fromhex("574C66007E00") + b"SIM1"
REFUSED = 3


def main() -> int:
    """Decode one block. Return the exit status."""
    import cv2
    import numpy as np

    block = sys.stdin.buffer.read(4096)
    if not block.startswith(HEAD):
        return REFUSED
    start = len(HEAD) + 2
    size = int.from_bytes(block[len(HEAD) : start], "big")
    image = cv2.imdecode(np.frombuffer(block[start : start + size], np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return REFUSED
    sys.stdout.buffer.write(cv2.imencode(".bmp", image)[1].tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
