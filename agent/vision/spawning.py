"""How a child process of ours is started: a pipe in, a pipe out, nothing of it on a command line."""

from __future__ import annotations

import os
import subprocess
import sys

#: glibc raises its bound for blocks of their own to the size of the frames that it sees, and then keeps the
#: holes they leave. A bound that is set stays, and memory goes when its frame does: 9 MB less at 1080p.
BLOCK_OF_ITS_OWN = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}


def program(module: str) -> list[str]:
    """Return the command that runs one of our modules."""
    return [sys.executable, "-I", "-m", module]


def spawned(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a child that speaks `agent.vision.protocol` over its standard input and output. OSError."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # drivers and codecs chatter there
        env={**os.environ, **BLOCK_OF_ITS_OWN},
    )
