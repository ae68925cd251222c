"""glibc's allocator, told that this process lives for months and works in short bursts."""

from __future__ import annotations

import ctypes

#: mallopt(3). An arena for each thread keeps what its thread's busiest moment took, for ever.
_ARENA_MAX, _ARENAS = -8, 2
#: Set at all, it stops growing by itself with the largest block ever freed.
_TRIM_THRESHOLD, _TRIM_BYTES = -1, 128 * 1024


def give_back() -> bool:
    """Let freed memory return to the system. To be called before any thread; False where libc is not glibc.

    Measured (bench/daemon.py): after `doctor`, the page and the lists a daemon keeps 74 MB instead of 98.
    For the daemon's own process alone: frames in the vision process are better kept.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_ARENA_MAX, _ARENAS) and mallopt(_TRIM_THRESHOLD, _TRIM_BYTES))


def trim() -> bool:
    """Let what lies free between what is in use return as well; False where nothing did, or no glibc is."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):
        return False
