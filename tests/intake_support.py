"""Made-up results as a kiosk hands them in, and an intake over a real state directory."""

from __future__ import annotations

import base64
import copy
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import requests
from console_support import Served, configuration, serving
from e2e_support import wait_for
from outbox_support import NAME, NUMBER
from pictures_support import PICTURE_CHILD

from agent.board import Board
from agent.clock import SystemClock
from agent.console.server import Part
from agent.intake.keeping import Intake, Parts
from agent.ownership import Ownership, owning
from agent.vision.pictures import Pictures

TOKEN = "t0ken-" + "z" * 30
PATH = "/api/intake/v1/verifications"


@lru_cache
def picture(seed: int, form: str = ".jpg", side: int = 96) -> bytes:
    """Return a small picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    good, encoded = cv2.imencode(form, cv2.GaussianBlur(pixels, (9, 9), 0))
    assert good
    return bytes(encoded.tobytes())


def base64_of(raw: bytes) -> str:
    """Return bytes as the text that JSON carries."""
    return base64.b64encode(raw).decode()


_COMPLETE = {
    "verified_at": "2026-03-01T09:00:00+08:00",
    "device_no": "0000777",
    "card": {
        "kind": "resident",
        "name": NAME,
        "number": NUMBER,
        "sex": "2",
        "nation": "08",
        "birth": "1990-01-01",
        "address": "广西测试市测试路一号",
        "issuer": "测试市公安局",
        "valid_from": "2020-01-01",
        "valid_until": "长期",
    },
    "result": "passed",
    "score": 0.87,
    "card_picture": base64_of(picture(1)),
    "camera_picture": base64_of(picture(2)),
    "operator": "测试员",
}


def submission(**changes: Any) -> dict[str, Any]:
    """Return a complete submission; `card` is merged in, None takes a field away."""
    made = {"id": uuid.uuid4().hex, **copy.deepcopy(_COMPLETE)}
    card = changes.pop("card", {})
    made["card"] = {**made["card"], **card} if isinstance(card, Mapping) else card  # type: ignore[dict-item]
    made |= changes
    return {key: value for key, value in made.items() if value is not None}


def parts_over(own: Ownership, board: Board, pictures: Pictures = PICTURE_CHILD) -> Parts:
    """Return what an intake over a state directory works with."""
    # Whether this machine has NTP must not decide what a test sees.
    own.time.confirmed()
    return Parts(
        config=lambda: own.config,
        outbox=own.outbox,
        audit=own.audit,
        board=board,
        clock=SystemClock(),
        pseudonyms=own.pseudonyms,
        uptime=own.uptime,
        accept=pictures.accepted,
        record_kept=lambda: None,
        operator=lambda: own.config.operators.default,
    )


class HandingIn:
    """A kiosk's program that speaks to a served intake."""

    def __init__(self, one: Served, intake: Intake) -> None:
        self.one = one
        self.own = one.own
        self.intake = intake

    def post(self, data: Any, *, token: str | None = TOKEN, **options: Any) -> requests.Response:
        """Hand in."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        headers |= options.pop("headers", {})
        if not isinstance(data, bytes | str):
            return self.one.request("POST", PATH, json=data, headers=headers, **options)
        return self.one.request("POST", PATH, data=data, headers=headers, **options)

    def faults(self, data: Any) -> list[tuple[str, str]]:
        """Return code and pointer of each fault of a refused submission."""
        answer = self.post(data)
        assert (answer.status_code, answer.json()["code"]) == (400, "E8501"), answer.text
        return sorted((fault["code"], fault["pointer"]) for fault in answer.json()["faults"])


@contextmanager
def handing_in(
    folder: Path, changes: Mapping[str, Any] | None = None, pictures: Pictures = PICTURE_CHILD
) -> Iterator[HandingIn]:
    """Serve an intake for the length of a block."""
    config = configuration(folder, changes)
    board = Board(SystemClock())
    with owning(config, SystemClock()) as own:
        intake = Intake(parts_over(own, board, pictures))

        def part(_ending: Any) -> Any:
            from agent.console.intake import blueprint

            return blueprint(intake, TOKEN.encode, lambda: "en")

        parts: list[Part] = [part]
        with serving(config, own, parts) as one:
            wait_for("the console listens", one.up)
            yield HandingIn(one, intake)
