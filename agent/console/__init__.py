"""What the agent answers on loopback HTTP: health, metrics, state, and whatever blueprints are hung in.

Flask and waitress are imported when the server starts, not before: an agent with `console.listen: none`
never pays for them.
"""

from __future__ import annotations

from agent.console.desk import Page
from agent.console.server import Console

__all__ = ["Console", "Page"]
