"""The regional health platform: its codes and conventions, rendering, signing, cipher, answers, client.

Rows such as P5 or R10 are those of the close reading in docs/platform.md.
"""

from __future__ import annotations
