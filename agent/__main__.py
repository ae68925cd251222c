"""`python -m agent` is the same as `kiosk-agent`."""

from __future__ import annotations

import os
import signal
import types

#: As in a shell: 128 and the number of SIGINT.
INTERRUPTED = 130


def main() -> None:
    """Run the command line. Ctrl-C while it is still being read from the disk ends it without a word."""
    # Not where whoever started us wants it ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _broken_off)
    from agent.cli.main import main as command  # a tenth of a second, in which nothing has begun

    command()


def _broken_off(_number: int, _frame: types.FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
