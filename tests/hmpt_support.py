"""A platform on loopback and a client that speaks to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.clock import SystemClock
from agent.config.schema import Config
from agent.hmpt.client import PlatformClient
from agent.hmpt.signing import Identity
from agent.records import PictureKind
from agent.simulate.platform import Dialect, Faults, SimulatedPlatform

SECRET, APP_ID, TICKET = "Kx7pQ2mZ9sR4tV1w", "ORG-TEST-0001", "ticket-abc"
JPEG = b"\xff\xd8\xff" + bytes(range(256)) * 40 + b"\xff\xd9"
PICTURES = {PictureKind.CAMERA: JPEG, PictureKind.CARD: JPEG[:3] + JPEG[50:]}


def config(base_url: str, *, encrypt: bool = True, **conventions: Any) -> Config:
    """Return a configuration for a platform at `base_url`."""
    return Config.model_validate(
        {
            "platform": {
                "base_url": base_url,
                "org_app_id": APP_ID,
                "org_app_secret": {"file": "unused"},
                "authorization": {"file": "unused"},
                "encrypt": encrypt,
                "connect_timeout_s": 1,
                "answer_timeout_s": 3,
                "conventions": conventions,
            },
            "device": {
                "dept_id": "1",
                "dept_name": "产科",
                "manufacturer": "M",
                "purchase_date": "2024-06-01",
                "machine_code": "SIM-0000777",
                "device_no": "0000777",
                "register_user": "测试",
            },
        }
    )


def client(settings: Config, secret: str = SECRET) -> PlatformClient:
    """Return a client with the test's identity."""
    return PlatformClient(lambda: settings, Identity(APP_ID, secret.encode(), TICKET), SystemClock())


@contextmanager
def connected(
    faults: Faults | None = None,
    *,
    encrypt: bool = True,
    signed: bool = True,
    secret: str = SECRET,
    **conventions: Any,
) -> Iterator[tuple[PlatformClient, SimulatedPlatform, Config]]:
    """Serve a platform, and give a client whose device is registered there."""
    dialect = Dialect(
        encryption="required" if encrypt else "off", answer_time="own" if signed else "unsigned"
    )
    platform = SimulatedPlatform(secret, APP_ID, TICKET, faults=faults, dialect=dialect)
    with platform:
        settings = config(platform.url, encrypt=encrypt, **conventions)
        speaker = client(settings, secret)
        speaker.register(settings.device, "0" * 32)
        try:
            yield speaker, platform, settings
        finally:
            speaker.close()
