"""Finished results of a kiosk that compares by itself: taken in over loopback HTTP or from a folder.

What a kiosk hands in is a verdict already: it is checked, mapped and kept, never computed again.
"""

from __future__ import annotations
