"""The daemon's allocator: counted by glibc itself, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

#: Sixteen threads at work at once, then glibc's own account of its arenas.
BUSY = """
import ctypes, sys, threading
from agent import malloc
if sys.argv[2] == "told":
    assert malloc.give_back()
together = threading.Barrier(16)
def work():
    together.wait()
    kept = [bytes(600 + n % 90000) for n in range(2000)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.parametrize(("told", "most"), [("told", 2), ("not told", None)])
def test_threads_share_two_arenas(tmp_path: Path, told: str, most: int | None) -> None:
    account = tmp_path / "account.xml"
    subprocess.run([sys.executable, "-c", BUSY, str(account), told], check=True)
    arenas = len(re.findall(r'<heap nr="', account.read_text("ascii")))
    assert arenas > 2 if most is None else arenas <= most
