"""The flow at the desk: a pure state machine, and the loop that drives it."""

from __future__ import annotations

from agent.station.events import Again, DeskInput, Ending, EndIt
from agent.station.loop import Station
from agent.station.work import Parts

__all__ = ["Again", "DeskInput", "EndIt", "Ending", "Parts", "Station"]
