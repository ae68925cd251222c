"""One YAML file becomes one frozen `Config`, which is passed in and never read globally."""

from __future__ import annotations

from agent.config.findings import ConfigError, Finding
from agent.config.loader import examine, load
from agent.config.schema import Config, Conventions

__all__ = ["Config", "ConfigError", "Conventions", "Finding", "examine", "load"]
