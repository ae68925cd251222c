"""The audit trail: who did what to which record, when, with what result."""

from __future__ import annotations

from agent.audit.trail import Audit, Head, Report

__all__ = ["Audit", "Head", "Report"]
