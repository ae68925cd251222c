"""Values that are sent letter for letter, and what differs from the administrator's entry without being seen.

A blank at an end, a character of no width, a digit that an input method left on made full-width: on a screen
they look like the entry, and the platform compares letters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from agent.config.schema import Config
from agent.config.slips import narrow
from agent.config.tree import Path

#: Codes and numbers: nobody means a full-width form of these.
_IDENTIFIERS = frozenset({"org_app_id", "dept_id", "model", "machine_code", "device_no"})


def findings(config: Config) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Yield each value that hardly is what the administrator entered, with what was most likely meant.

    None of these is a secret; a person's name is not repeated, for findings go into a support bundle.
    """
    for path, text in _sent(config):
        identifier = path[-1] in _IDENTIFIERS
        meant = tidied(text, identifier=identifier)
        shown = "" if path[-1] == "register_user" or path[0] == "operators" else meant
        facts = {"key": ".".join(map(str, path)), "meant": shown}
        if identifier and meant != _visible(text):
            yield path, "E6038", facts
        elif meant != text:
            yield path, "E6037", facts
        elif (wide := narrow(text)) != text and wide.isascii():
            yield path, "W6105", facts | {"meant": shown and wide}


def tidied(text: str, *, identifier: bool) -> str:
    """Return a value as it must have been meant; a name keeps the full-width forms that Chinese text has."""
    visible = _visible(text)
    narrowed = narrow(visible)
    wide_letters = any(one != other and other.isalnum() for one, other in zip(visible, narrowed, strict=True))
    return narrowed if identifier and (wide_letters or narrowed.isascii()) else visible


def _visible(text: str) -> str:
    """Return text without characters of no width and without blanks around it."""
    return "".join(one for one in text if unicodedata.category(one) != "Cf").strip()


def _sent(config: Config) -> Iterator[tuple[Path, str]]:
    yield ("platform", "org_app_id"), config.platform.org_app_id
    for section, path in (
        (config.device, ("device",)),
        (config.platform.conventions.substitutes, ("platform", "conventions", "substitutes")),
    ):
        for name in type(section).model_fields:
            if isinstance(value := getattr(section, name), str):
                yield (*path, name), value
    if config.operators.default is not None:
        yield ("operators", "default"), config.operators.default
    for at, name in enumerate(config.operators.list):
        yield ("operators", "list", at), name
