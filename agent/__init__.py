"""The agent beside the face-recognition kiosk: one verification from card to platform receipt.

`docs/architecture.md` names the rooms and says who may know whom.
"""

from __future__ import annotations

__version__ = "0.1.0"
