"""Where a site's own liveness check plugs in: a program, asked about the chosen frame, advisory.

There is none by default. What it says stays with the record; it neither passes nor fails anybody.
"""

from __future__ import annotations

import os
import subprocess

from agent.config.schema import Liveness


def asked(liveness: Liveness, jpeg: bytes) -> float | None:
    """Return 0..1 as the program says it of a frame, None when it says nothing of use in time."""
    try:
        run = subprocess.run(
            liveness.command,
            input=jpeg,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=liveness.timeout_s,
            check=True,
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )
        value = float(run.stdout[:64])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return round(value, 3) if 0.0 <= value <= 1.0 else None
