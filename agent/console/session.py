"""Who may look at the page: one-time codes that become sessions, in memory, and by digest beside the records.

A code is made through the control socket, so the operating system says who may have one. The page trades it
for a cookie that no script can read. Only SHA-256 of a session's token is kept: a restart of the daemon does
not send the registrar back to the desktop, and the file gives nobody a session.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Callable

from agent.clock import Clock

#: How long a code waits to be used: a browser that has to start on a busy machine needs some seconds.
CODE_S = 60.0
MAX_CODES = 8
#: A kiosk has one screen, perhaps two, and a developer's browser; the one unused longest makes room.
MAX_SESSIONS = 16
#: A session that asked for nothing for so long is over. An open page asks all the time.
IDLE_S = 12 * 3600.0
TOKEN_BYTES = 32


class Sessions:
    """Codes and sessions. Safe from any thread."""

    def __init__(self, clock: Clock, stored: str | None, store: Callable[[str], None]) -> None:
        self._clock = clock
        self._store = store
        self._lock = threading.Lock()
        self._codes: dict[str, float] = {}
        now = clock.monotonic()
        self._seen = dict.fromkeys(_digests(stored), now)

    def new_code(self) -> str:
        """Return a code that opens one session within CODE_S."""
        code = secrets.token_urlsafe(TOKEN_BYTES)
        with self._lock:
            now = self._clock.monotonic()
            self._codes = {known: until for known, until in self._codes.items() if until > now}
            while len(self._codes) >= MAX_CODES:
                del self._codes[next(iter(self._codes))]
            self._codes[_digest(code)] = now + CODE_S
        return code

    def open(self, code: str) -> str | None:
        """Trade a code for a session's token; None when the code is unknown, used or too old."""
        with self._lock:
            until = self._codes.pop(_digest(code), 0.0)
            now = self._clock.monotonic()
            if until <= now:
                return None
            token = secrets.token_urlsafe(TOKEN_BYTES)
            while len(self._seen) >= MAX_SESSIONS:
                del self._seen[min(self._seen, key=lambda digest: self._seen[digest])]
            self._seen[_digest(token)] = now
            self._keep()
        return token

    def known(self, token: str) -> bool:
        """Return whether a token belongs to a session, which thereby is in use."""
        digest = _digest(token)
        with self._lock:
            seen = self._seen.get(digest)
            now = self._clock.monotonic()
            if seen is None or now - seen > IDLE_S:
                self._seen.pop(digest, None)
                return False
            self._seen[digest] = now
            return True

    def close(self, token: str) -> None:
        """End a session."""
        with self._lock:
            if self._seen.pop(_digest(token), None) is not None:
                self._keep()

    def count(self) -> int:
        """Return how many sessions there are."""
        with self._lock:
            return len(self._seen)

    def _keep(self) -> None:
        self._store(json.dumps(list(self._seen)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _digests(stored: str | None) -> list[str]:
    """Return what was stored; whatever is not a list of texts gives nobody a session."""
    try:
        found = json.loads(stored or "[]")
    except ValueError:
        return []
    if not isinstance(found, list):
        return []
    return [digest for digest in found if isinstance(digest, str)][-MAX_SESSIONS:]
