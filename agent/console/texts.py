"""The page's own words, Chinese and English side by side in texts.yaml; states speak from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

import yaml

LANGUAGES = ("zh", "en")
#: What the script says when nobody answers it any more: it must have the words before.
LOST = "E8411"


@lru_cache(maxsize=len(LANGUAGES))
def texts(lang: str) -> Mapping[str, str]:
    """Return every text of the page by its key."""
    raw = resources.files("agent.console").joinpath("texts.yaml").read_text("utf-8")
    return {key: both[lang] for key, both in yaml.safe_load(raw).items()}
