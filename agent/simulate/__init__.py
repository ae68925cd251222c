"""Made-up counterparts: the platform as its document describes it, a site in a folder, portraits.

Shares no code with the client that is tested against it.
"""

from __future__ import annotations
