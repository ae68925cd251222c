"""`face evaluate`: how often this engine errs on a site's own pictures, and how sure that is."""

from __future__ import annotations
