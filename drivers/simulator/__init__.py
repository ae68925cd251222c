"""The other half of the reader's protocol, for demo and tests: made-up cards on a real pty.

Written from the protocol's document and its published examples; shares no code with `drivers.sdt`.
"""

from __future__ import annotations
