"""How a camera is named in a configuration. Opens nothing, and needs no OpenCV."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def is_stream(source: str) -> bool:
    """Return whether a source is a network stream: opened when needed, for it loads the net."""
    return source.startswith("rtsp://")


def shown(source: str) -> str:
    """Return a source as it may be told: an address without the name and password that some write into it."""
    if not is_stream(source):
        return source
    parts = urlsplit(source)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def is_file_source(source: str) -> bool:
    """Return whether a source is a picture or video file: test material, never a camera."""
    return source not in {"auto", "none"} and not source.startswith(("rtsp://", "/dev/"))
