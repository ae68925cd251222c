"""Devices and bytes: identity-card readers, cameras, photo decoders.

This package knows nothing of hospitals, networks or databases, and never imports `agent`.
"""

from __future__ import annotations
