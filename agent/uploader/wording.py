"""What an outcome is called: the kind of failure it counts as, and the facts that people are shown."""

from __future__ import annotations

from agent.records import Delivered, Outcome, PlatformDown, Refused, Unknown
from agent.uploader.judgement import Case, Failure

#: Unknown outcomes that count towards something; all others are lost answers.
FAILURES = {
    "E5001": Failure.INSIDE,
    "E5006": Failure.INSIDE,
    "E5011": Failure.UNNAMED,
    "E5007": Failure.CONTRADICTION,
    "E4104": Failure.BROKE,
}


def facts(case: Case, detail: str) -> dict[str, str]:
    """Return the facts of an answer about a record."""
    skew = "-" if case.skew_s is None else f"{round(case.skew_s):+d}"
    return {"detail": detail, "skew": skew, "device": case.device}


def detail(outcome: Outcome) -> str:
    """Return what the platform, or the network, said; nothing that names a person."""
    match outcome:
        case Unknown(_, said) | PlatformDown(_, said, _):
            return said
        case Refused(_, platform_code, exception_code, message):
            return f"{platform_code} {exception_code or '-'} {message}".strip()
        case Delivered():
            return ""
