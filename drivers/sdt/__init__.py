"""The SAM_V / SDT protocol of Chinese identity-card readers, without input or output.

Source: "SAM communication protocol" and GA/T 467, as summarised in docs/protocol.md.
"""

from __future__ import annotations
