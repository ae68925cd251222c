"""What the health commission allotted to this organisation, read from where it is kept."""

from __future__ import annotations

from agent import keys
from agent.config.schema import Config
from agent.hmpt.signing import Identity


def identity(config: Config) -> Identity:
    """Return who we are to the platform. AgentError E72xx when secret or ticket cannot be read."""
    platform = config.platform
    return Identity(
        platform.org_app_id,
        keys.read_secret(platform.org_app_secret, "platform.org_app_secret"),
        keys.read_secret(platform.authorization, "platform.authorization").decode(),
    )
