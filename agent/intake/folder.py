"""A folder into which a kiosk drops its results, one JSON file each.

    NAME.json --understood--> kept, durable --> deleted, with the pictures that it names
        |  `-- unreadable, or a picture missing: perhaps half-written, left alone until it has settled
        `----- refused --> quarantine/NAME.json, the reasons beside it in NAME.json.reason.json

A kiosk may use one name again and again: what is deleted or set aside is moved out of its reach first, and
it must still be the file that was read.

Polled: once a second costs nothing, works on every file system and misses nothing after a restart. Names of
files are never told: kiosks put names and card numbers into them.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from agent import logs
from agent.catalogue import AgentError
from agent.heartbeat import Heartbeat
from agent.intake import fetch
from agent.intake.candidate import Candidate
from agent.intake.faults import Fault, Rejected
from agent.intake.keeping import THEIRS, Intake, Parts
from agent.intake.pictures import Forbidden
from agent.intake.reading import parsed
from agent.vision.pictures import LIMIT_S
from drivers.access import unusable

log = logs.get(__name__)

POLL_S = 1.0
#: Files at one look; the loop beats in between.
AT_ONCE = 50
#: What cannot be read may be half-written still: it is refused when it has not changed for so long.
SETTLE_S = 60.0
#: After trouble of our own - no room, a failing disk - the folder is left alone for so long.
TROUBLE_S = 15.0
#: Three pictures of three million base64 characters, and the rest.
MAX_BYTES = 10 * 2**20
QUARANTINE = "quarantine"
#: A file that we have moved out of its writer's reach; left by a kill, it is looked at like any other.
OURS = ".kiosk-agent-"

#: Trouble that a file has by itself: it must not stop those behind it.
ITS_OWN = frozenset({"E8531", "E2307"})
#: Three pictures, each looked at for as long as it may take, and what else a file needs.
FILE_S = 3 * LIMIT_S

Stamp = tuple[int, int, int]
#: Faults that a file may lose by itself, because its writer has not finished.
PASSING = frozenset({"E8506", "E8520"})


@dataclass(frozen=True)
class _Look:
    """A file as it was when first seen so."""

    stamp: Stamp
    at: float


class Folder:
    """Empties intake.folder into the outbox. One thread."""

    def __init__(self, parts: Parts, intake: Intake, folder: Path) -> None:
        self._parts = parts
        self._intake = intake
        self._folder = folder
        self._looks: dict[str, _Look] = {}
        #: Files with trouble of their own: they come last, or a look full of them would be all there is.
        self._stuck: dict[str, Stamp] = {}
        self._told: str | None = None

    def run(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Take what is dropped until `stop` is set."""
        while not stop.is_set():
            heartbeat.beat()
            pause_s = POLL_S
            try:
                self.round(heartbeat, stop)
                self._told = None
                self._intake.folder_trouble(None)
            except AgentError as error:
                self._trouble(error)
                pause_s = TROUBLE_S
            with heartbeat.silence(pause_s):
                stop.wait(pause_s)

    def round(self, heartbeat: Heartbeat, stop: threading.Event) -> None:
        """Look at each file once, oldest first. AgentError for trouble of our own: what is there stays."""
        found = self._found()
        self._looks = {name: look for name, look in self._looks.items() if name in found}
        self._stuck = {name: stamp for name, stamp in self._stuck.items() if found.get(name) == stamp}
        trouble = None
        for name in sorted(found, key=lambda name: (name in self._stuck, found[name], name))[:AT_ONCE]:
            if stop.is_set():
                return
            try:
                with heartbeat.silence(FILE_S):
                    self._look(name, found[name])
                self._stuck.pop(name, None)
            except AgentError as error:
                if error.code not in ITS_OWN:
                    raise
                self._stuck[name], trouble = found[name], error
        self._intake.quarantined = self._waiting()
        # Not only when a file comes that cannot be taken away: that may be tonight.
        if trouble is None and (reason := unusable(self._folder)) is not None:
            trouble = AgentError("E8531", path=self._folder, reason=reason)
        if trouble is not None:
            raise trouble

    def _found(self) -> dict[str, Stamp]:
        """Return each file that is to be taken, with what shows whether it has changed."""
        found = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    # A name with a dot in front is one that its writer has not renamed yet.
                    hidden = entry.name.startswith(".") and not entry.name.startswith(OURS)
                    wanted = entry.name.lower().endswith(".json") and not hidden
                    if wanted and entry.is_file(follow_symlinks=False):
                        found[entry.name] = _stamp(entry.stat(follow_symlinks=False))
        except OSError as error:
            raise AgentError("E8531", path=self._folder, reason=error.strerror) from error
        return found

    def _look(self, name: str, stamp: Stamp) -> None:
        now = self._parts.clock.monotonic()
        look = self._looks.get(name)
        if look is None or look.stamp != stamp:
            look = self._looks[name] = _Look(stamp, now)
        try:
            candidate = self._intake.understood(parsed(self._content(name)), self._folder)
            self._intake.take(candidate)
        except FileNotFoundError:
            return  # its writer took it back
        except AgentError as error:
            if error.code not in THEIRS:
                raise
            passing = isinstance(error, Rejected) and {fault.code for fault in error.faults} & PASSING
            if not passing or now - look.at >= SETTLE_S:
                self._set_aside(name, stamp, error)
            return
        except Exception as error:
            # Whatever one file does to a library: it is set aside under a code, and the folder goes on.
            log.debug("taking a file", exc_info=error)
            self._set_aside(name, stamp, AgentError("E8404", cause=type(error).__name__))
            return
        self._delete(name, stamp, candidate)

    def _content(self, name: str) -> bytes:
        try:
            return fetch.content(self._folder / name, MAX_BYTES)
        except Forbidden:
            raise Rejected([Fault("E8505", "", {"limit": str(MAX_BYTES)})]) from None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise AgentError("E8531", path=self._folder, reason=error.strerror) from error

    def _claimed(self, name: str, stamp: Stamp) -> Path | None:
        """Move a file out of its writer's reach. Return it if it is still the one that was looked at.

        Another one, written in between, is looked at in the next round.
        """
        number, ours = 0, self._folder / f"{OURS}0.json"
        while ours.exists():
            number, ours = number + 1, self._folder / f"{OURS}{number + 1}.json"
        try:
            (self._folder / name).rename(ours)
            return ours if _stamp(ours.stat()) == stamp else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AgentError("E8531", path=self._folder, reason=error.strerror) from error

    def _delete(self, name: str, stamp: Stamp, candidate: Candidate) -> None:
        """Take away what is durable now. What cannot be deleted is met again, and known again."""
        ours = self._claimed(name, stamp)
        if ours is None:
            return
        if self._parts.config().intake.pictures is None:
            for picture in candidate.files:
                with contextlib.suppress(Forbidden):  # two results may name one picture
                    fetch.remove(self._folder, picture)
        try:
            ours.unlink(missing_ok=True)
        except OSError as error:
            raise AgentError("E8531", path=self._folder, reason=error.strerror) from error

    def _set_aside(self, name: str, stamp: Stamp, error: AgentError) -> None:
        """Move a refused file out of the way, its reasons written down first."""
        ours = self._claimed(name, stamp)
        if ours is None:
            return
        lang = self._parts.config().lang
        fault = Fault(error.code, "", error.facts)
        faults = error.as_json(lang) if isinstance(error, Rejected) else [fault.as_json(lang)]
        reasons = {"at": self._parts.clock.now().isoformat(timespec="seconds"), "faults": faults}
        aside = self._folder / QUARANTINE
        try:
            aside.mkdir(mode=0o700, exist_ok=True)
            name = name.removeprefix(".")
            number, target = 0, aside / name
            while target.exists():
                number += 1
                target = aside / f"{number}-{name}"
            text = json.dumps(reasons, ensure_ascii=False, indent=2) + "\n"
            target.with_name(f"{target.name}.reason.json").write_text(text, "utf-8")
            ours.rename(target)
        except OSError as failure:
            raise AgentError("E8531", path=self._folder, reason=failure.strerror) from failure
        self._intake.refused(error)

    def _waiting(self) -> int:
        try:
            names = os.listdir(self._folder / QUARANTINE)
        except OSError:
            return 0
        return sum(not name.endswith(".reason.json") for name in names)

    def _trouble(self, error: AgentError) -> None:
        """Tell trouble once, not at each look; it is shown for as long as it lasts."""
        self._intake.folder_trouble(error)
        if self._told != error.code:
            self._told = error.code
            logs.say_error(log, error)
            self._parts.board.event(error.code, **error.facts)


def _stamp(status: os.stat_result) -> Stamp:
    """Return what tells a file from what it was, or from another under its name."""
    return status.st_mtime_ns, status.st_size, status.st_ino
