"""The command line: one file per group of verbs; the only place that prints and exits."""

from __future__ import annotations
