"""The judgement of a configuration file, noted for `status`: whoever has checked it spares the next look.

That is `check`, and a `run` that was refused, so that what keeps the service down is told at once and whole;
`status` itself only where nothing could be noted, or there is nothing to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent import lastcheck, lastrun, room
from agent.catalogue import LANGUAGES
from agent.config import Config, Finding, examine
from agent.lastcheck import Checked
from agent.live import fingerprint
from agent.ops.access import as_owner_of


def judge(path: Path, state_dir: Path | None = None) -> Checked:
    """Check a file, and note for the next time what it is like, where there is a place for that."""
    digest = lastrun.digest(path)
    config, findings = examine(path)
    return note(path, state_dir, digest, config, findings)


def note(
    path: Path, state_dir: Path | None, digest: str, config: Config | None, findings: Sequence[Finding]
) -> Checked:
    """Note what was found in a file that had this digest before it was read. Return it."""
    wrong = [finding for finding in findings if finding.fatal]
    checked = Checked(
        "" if config is None else fingerprint(config),
        room.QUOTA_BYTES if config is None else config.outbox.max_bytes,
        {"code": wrong[0].code, "facts": dict(wrong[0].facts)} if wrong else None,
        {lang: [finding.line(lang) for finding in wrong] for lang in LANGUAGES},
        {lang: [finding.as_json(lang) for finding in wrong] for lang in LANGUAGES},
    )
    # Of what changed meanwhile nothing is known; what cannot be read may be readable the next time.
    if state_dir is not None and digest and digest == lastrun.digest(path):
        with as_owner_of(state_dir):
            lastcheck.note(state_dir, path, digest, checked)
    return checked
