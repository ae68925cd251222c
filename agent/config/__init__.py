"""One YAML file becomes one frozen `Config`, which is passed in and never read globally."""

from __future__ import annotations

from agent.config.schema import Config, Conventions

__all__ = ["Config", "Conventions"]
