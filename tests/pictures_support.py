"""The process that looks at pictures, for whoever needs one of them looked at."""

from __future__ import annotations

import atexit
import sys

from agent.clock import SystemClock
from agent.vision.pictures import Pictures

#: One for the whole run: its process starts with the first picture and goes by itself.
PICTURE_CHILD = Pictures(SystemClock())
atexit.register(PICTURE_CHILD.close)

#: A child that does to a picture with this mark whatever a hostile picture may do to a library.
HOSTILE_MARK = b"-hostile-"
_HOSTILE = """
import os, signal, sys, time
from agent import images
from agent.vision import picture_child
real = images.decode
def decode(data):
    if b"-hostile-" in data:
        {deed}
    return real(data)
images.decode = decode
picture_child.main()
"""


def hostile(deed: str) -> list[str]:
    """Return the command of a child that does a deed, a line of Python, when it meets the mark."""
    return [sys.executable, "-c", _HOSTILE.format(deed=deed)]
