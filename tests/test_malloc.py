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


#: Sixty megabytes with a block at their end that stays; prints what was resident, in pages, and what is then.
HOLES = """
from pathlib import Path
from agent import malloc
def pages(): return int(Path("/proc/self/statm").read_text().split()[1])
malloc.give_back()
kept = [bytes(2000) for _ in range(30000)]
before = pages()
del kept[:-1]
assert malloc.trim()
print(before, pages())
"""


def test_what_lies_free_between_what_is_in_use_goes_back_as_well() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], check=True, capture_output=True, text=True)
    before, after = (int(number) for number in done.stdout.split())
    assert before - after > 10_000  # of some 15,000


@pytest.mark.parametrize(("told", "most"), [("told", 2), ("not told", None)])
def test_threads_share_two_arenas(tmp_path: Path, told: str, most: int | None) -> None:
    account = tmp_path / "account.xml"
    subprocess.run([sys.executable, "-c", BUSY, str(account), told], check=True)
    arenas = len(re.findall(r'<heap nr="', account.read_text("ascii")))
    assert arenas > 2 if most is None else arenas <= most
