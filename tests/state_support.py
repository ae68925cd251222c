"""A state directory without a platform, owned in the test's own process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hmpt_support import config
from outbox_support import receipt

from agent.config.schema import Config
from agent.outbox import Claim, SettleDelivered, space
from agent.ownership import Ownership


@contextmanager
def small_ballast() -> Iterator[None]:
    """Keep a test's outbox from laying 64 MiB aside, and its rotten values from filling the screen."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(space, "BALLAST_BYTES", 4096)
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def state_settings(folder: Path) -> Config:
    """Return the configuration of a state directory whose platform nobody reaches."""
    return config("http://127.0.0.1:1").model_copy(update={"state_dir": str(folder)})


def delivered_by(own: Ownership, claim: Claim) -> None:
    """Settle a claim as a platform that took it."""
    own.outbox.note_attempt(
        claim,
        request_id=claim.id,
        conventions_fingerprint="ab" * 8,
        conventions_json="{}",
        sm3_hex="00" * 32,
        length=1,
    )
    own.outbox.settle(claim, SettleDelivered(receipt(claim.id)))
    own.audit.append("record.delivered", who="uploader", target=claim.id)
