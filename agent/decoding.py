"""The configured decoder of chip photographs."""

from __future__ import annotations

from collections.abc import Callable

from agent.config.schema import PhotoDecoder as Settings
from drivers.photo import Library, PhotoDecoder, build


def decoder(
    settings: Settings, one_colour: Callable[[bytes], bool], most_s: float | None = None
) -> PhotoDecoder:
    """Return the decoder of a configuration, with its time limit or `most_s`, whichever is shorter.

    `one_colour` is `vision.pictures.Pictures.one_colour`.
    """
    limit_s = settings.timeout_s if most_s is None else min(settings.timeout_s, most_s)
    chosen = settings.library
    library = None
    if chosen.path is not None:
        library = Library(
            chosen.path, chosen.call, chosen.vendor_code, chosen.pixels, chosen.rows, chosen.helper
        )
    return build(settings.kind, settings.command, settings.input, limit_s, one_colour, library)
