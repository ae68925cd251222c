"""Which secrets a configuration names."""

from __future__ import annotations

from agent import keys
from agent.config.schema import Config, Secret


def named_secrets(config: Config) -> dict[str, Secret]:
    """Return every secret that the configuration names, by its key."""
    found = {
        "platform.org_app_secret": config.platform.org_app_secret,
        "platform.authorization": config.platform.authorization,
        "camera.password": config.camera.password,
        "intake.token": config.intake.token,
        **{f"keys.{name}": getattr(config.keys, name) for name in keys.NAMES},
    }
    return {name: secret for name, secret in found.items() if secret is not None}
