"""`python -m agent` is the same as `kiosk-agent`."""

from __future__ import annotations

from agent.cli.main import main

main()
