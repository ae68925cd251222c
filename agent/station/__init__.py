"""The flow at the desk: a pure state machine, and the loop that drives it."""

from __future__ import annotations

from agent.station.loop import Parts, Station

__all__ = ["Parts", "Station"]
