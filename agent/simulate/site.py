"""A whole made-up site in one folder: configuration, secrets, what the camera sees. For demo and tests.

Everything is generated and marked as such; the agent itself refuses such sources unless the platform
is on loopback.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ORG_APP_ID = "ORG-DEMO-0001"


@dataclass(frozen=True)
class Credentials:
    """What the health commission would have allotted; the simulated platform must share it."""

    secret: str = field(repr=False)
    ticket: str = field(repr=False)

    @classmethod
    def made_up(cls) -> Credentials:
        """Return fresh ones."""
        return cls(secrets.token_hex(8), "ticket-" + secrets.token_urlsafe(24))


def build(
    folder: Path,
    credentials: Credentials,
    *,
    base_url: str,
    reader_port: str,
    camera: str,
    lang: str = "zh",
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a site into `folder` (created 0700). `changes` are merged in. Return the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_secret(folder / "org_app_secret", credentials.secret)
    _write_secret(folder / "esb_ticket", credentials.ticket)
    content = _merged(_configuration(folder, base_url, reader_port, camera, lang), changes or {})
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")
    return config


def _configuration(folder: Path, base_url: str, reader_port: str, camera: str, lang: str) -> dict[str, Any]:
    return {
        "lang": lang,
        "state_dir": str(folder / "state"),
        "platform": {
            "base_url": base_url,
            "org_app_id": ORG_APP_ID,
            "org_app_secret": {"file": str(folder / "org_app_secret")},
            "authorization": {"file": str(folder / "esb_ticket")},
            "encrypt": True,
        },
        "device": {
            "dept_id": "0001",
            "dept_name": "产科（演示）",
            "manufacturer": "模拟厂商",
            "model": "TSR-R3",
            "purchase_date": "2024-06-01",
            "machine_code": "SIM-0000777",
            "device_no": "0000777",
            "register_user": "演示",
        },
        "reader": {"port": reader_port, "photo_decoder": {"kind": "simulated"}},
        "camera": {"source": camera},
        "operators": {"default": "演示员"},
        # Several made-up sites may run at once: whoever wants to look says where.
        "console": {"listen": "none"},
    }


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = (
            _merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
        )
    return merged


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
