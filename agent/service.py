"""The daemon: wires the rooms together, starts their loops, and brings them to an end.

The only place that knows every room. `Agent` is the running whole, used by `kiosk-agent run` and by the
demo alike; `serve` adds what a process needs: signals, readiness, the watchdog, reload.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent import __version__, changes, keys, lastrun, logs, malloc
from agent.board import Board
from agent.catalogue import AgentError
from agent.clock import Clock, SystemClock
from agent.completion import Completion
from agent.completion import Parts as CompletionParts
from agent.config import Config
from agent.console import Console, Page
from agent.console.server import Part
from agent.console.view import public
from agent.control import ControlServer
from agent.control.verbs import Powers, handlers
from agent.decoding import decoder
from agent.face import acceptance
from agent.hmpt.allotted import identity
from agent.hmpt.client import PlatformClient
from agent.housekeeping import Housekeeping
from agent.intake.candidate import form_of
from agent.intake.folder import Folder
from agent.intake.keeping import Intake
from agent.intake.keeping import Parts as IntakeParts
from agent.lastrun import Recorder
from agent.live import Live, fingerprint
from agent.notify import notify, watchdog_interval_s
from agent.onfile import OnFile
from agent.operators import Operators
from agent.ops.status import line as status_line
from agent.ops.surroundings import configured
from agent.ownership import Ownership, owning
from agent.signals import Asked, listening
from agent.station import Parts as StationParts
from agent.station import Station
from agent.station.loan import Loan
from agent.station.memory import ReaderMemory
from agent.station.opening import opened
from agent.supervisor import Loop, LoopState, Supervisor
from agent.uploader import Parts as UploaderParts
from agent.uploader import Uploader
from agent.uploader.memory import RememberedSigning
from agent.vision.pictures import Pictures
from agent.vision.process import Vision
from agent.vision.reports import Reports
from drivers.discovery import HERE, openers

if TYPE_CHECKING:
    from flask import Blueprint

log = logs.get(__name__)

#: All loops together may take this long to end; systemd and operators are promised five seconds.
STOP_S = 4.0
TICK_S = 1.0
#: A command without a daemon owns the state directory for a moment; the daemon outwaits it.
PATIENCE_S = 3.0
#: A card's small picture is looked at within this, or the desk goes on without.
CHIP_PICTURE_S = 5.0


class Agent:
    """One running agent: every loop of it, between `start` and `stop`."""

    def __init__(self, config: Config, own: Ownership, clock: Clock) -> None:
        self.live = Live(config)
        self.operators = Operators(self.live.config, clock)
        self.board = Board(clock)
        self.own = own
        self._clock = clock
        signing = RememberedSigning(own.outbox, config.platform.base_url)
        self._client = PlatformClient(self.live.config, identity(config), clock, signing, self._on_time)
        self._reports = Reports(self.live.config, self.board, lambda: own.outbox.setting(acceptance.SETTING))
        self._vision = Vision(
            config.own_camera,
            config.face,
            config.images,
            clock,
            keys.camera_password(config),
            self._reports.camera,
            on_hint=self._reports.hint,
            on_engine=self._reports.engine,
        )
        # Apart, so that the desk never waits for a kiosk's picture; neither has a process while at rest.
        self._pictures = Pictures(clock, self.board)
        self._chip_pictures = Pictures(clock, self.board, limit_s=CHIP_PICTURE_S)
        self._loan = Loan()
        #: What a reload reads; known to whoever started us.
        self.on_file: OnFile | None = None
        self.uploader = Uploader(self._uploader_parts())
        self.completion = Completion(self._completion_parts())
        self.station = Station(self._station_parts())
        self._housekeeping = Housekeeping(self.live.config, own, self.board)
        self.intake = Intake(self._intake_parts()) if config.intake.wanted else None
        self._intake_token = _intake_token(config)
        self._page = Page(self._console_powers(), self.board, clock, self._vision.preview)
        self.console = Console(self._console_powers(), self.board, clock, self._console_parts())
        self._supervisor = Supervisor(self._loops())

    def start(self) -> None:
        """Start every loop. The screen says what the reader and camera say from here on."""
        balance = self.own.outbox.counts()
        logs.say(log, "I8001", version=__version__, waiting=balance.waiting)
        audit, config = self.own.audit, self.live.config()
        audit.append("agent.started", who="service", target=__version__, config=fingerprint(config))
        files = ",".join(name for name in keys.NAMES if getattr(config.keys, name) is None)
        kek = self.own.outbox.administration.kek_id
        audit.append("keys.loaded", who="service", target="keys", key=kek, own_files=files, durable=True)
        changes.note(self.own, config)
        if config.has_desk:
            self._vision.start()  # without a desk, a card's picture that comes late starts it
        self._supervisor.start()

    def stop(self) -> None:
        """End every loop within STOP_S; a send under way is left and its record goes out again."""
        logs.say(log, "I8002")
        # In this order: a look that ends because we do is no fault, and its woman is asked again.
        self._supervisor.ask_to_stop()
        self._vision.close()
        self.uploader.wake()
        self.completion.wake()
        left = self._supervisor.stop(self._clock, STOP_S)
        self._client.close()
        for pictures in (self._pictures, self._chip_pictures):
            pictures.close()
        if left:
            logs.say(log, "W8102", loops=",".join(left))
        self.own.audit.append("agent.stopped", who="service", target=__version__, durable=True)
        balance = self.own.outbox.counts()
        logs.say(log, "I8003", waiting=balance.waiting)

    def healthy(self) -> bool:
        """Return whether every loop beats in time."""
        return self._supervisor.healthy()

    def reload(self, config: Config) -> None:
        """Take over what may change while running. AgentError E8105 names what needs a restart."""
        before = self.live.config()
        token, form = _intake_token(config), form_of(config)
        self.live.replace(config)
        self._intake_token = token
        if self.intake is not None:
            self.intake.form = form
        if (before.face, before.images) != (config.face, config.images):
            password = keys.camera_password(config)
            self._vision.reconfigure(config.own_camera, config.face, config.images, password)
        logs.reconfigure(config.lang, config.logging.level)
        self.completion.wake()
        self.uploader.reconsider()
        logs.say(log, "I8004")
        changes.note(self.own, config)

    def powers(self, reload: Callable[[], None]) -> Powers:
        """Return what the control verbs may see and do."""
        return replace(
            self._console_powers(),
            reload=reload,
            vision=self._vision,
            pictures=self._pictures,
            loan=self._loan,
            face_changed=self._reports.post_engine,
            page_code=self._page_code,
        )

    # --- wiring -------------------------------------------------------------------------------------

    def _console_powers(self) -> Powers:
        return Powers(
            own=self.own,
            board=self.board,
            loops=self._loop_states,
            config=self.live.config,
            on_file=lambda: self.on_file,
            record_ready=self.uploader.wake,
            record_changed=self.completion.wake,
            operators=self.operators,
            tell=self.station.tell,
        )

    def _console_parts(self) -> list[Part]:
        """Return what is hung into the server; imported there, because Flask is."""
        intake = self.intake
        if intake is None or not self.live.config().intake.http:
            return [self._page.part]

        def handing_in(_ending: threading.Event) -> Blueprint:
            from agent.console.intake import blueprint

            return blueprint(intake, lambda: self._intake_token, lambda: self.live.config().lang)

        return [self._page.part, handing_in]

    def _intake_parts(self) -> IntakeParts:
        return IntakeParts(
            config=self.live.config,
            outbox=self.own.outbox,
            audit=self.own.audit,
            board=self.board,
            clock=self._clock,
            pseudonyms=self.own.pseudonyms,
            uptime=self.own.uptime,
            accept=self._pictures.accepted,
            record_kept=self.uploader.wake,
            operator=self.operators.in_force,
        )

    def _page_code(self) -> Mapping[str, object]:
        """Return the page's address and a one-time code. AgentError E8408 while nobody listens."""
        return self._page.code(self.console.address)

    def _loop_states(self) -> list[LoopState]:
        return self._supervisor.states()

    def _loops(self) -> list[Loop]:
        work = {
            "station": self.station.run,
            "uploader": self.uploader.run,
            "completion": self.completion.run,
            "housekeeping": self._housekeeping.run,
            "console": self.console.run,
        }
        config = self.live.config()
        if not config.has_desk:
            del work["station"]
        if config.console.listen == "none":
            del work["console"]
        if self.intake is not None and config.intake.folder is not None:
            folder = Folder(self._intake_parts(), self.intake, Path(config.intake.folder))
            work["folder"] = folder.run
        return [Loop(name, run, self._clock, self.board) for name, run in work.items()]

    def _station_parts(self) -> StationParts:
        config = self.live.config()
        own = self.own
        memory = ReaderMemory(own.outbox, own.audit, own.pseudonyms, self._clock)
        return StationParts(
            config=self.live.config,
            open_reader=lambda: opened(
                openers(config.reader.port, replace(HERE, baud=config.reader.baud)),
                config.reader.port,
                self._clock.monotonic,
                memory.pinned(),
                config.reader.baud,
            ),
            decoder=decoder(config.reader.photo_decoder, self._chip_pictures.one_colour),
            vision=self._vision,
            outbox=self.own.outbox,
            audit=self.own.audit,
            board=self.board,
            clock=self._clock,
            pseudonyms=self.own.pseudonyms,
            uptime=self.own.uptime,
            record_kept=self.uploader.wake,
            operator=self.operators.in_force,
            loan=self._loan,
        )

    def _uploader_parts(self) -> UploaderParts:
        return UploaderParts(
            config=self.live.config,
            client=self._client,
            outbox=self.own.outbox,
            audit=self.own.audit,
            board=self.board,
            clock=self._clock,
            rng=random.SystemRandom(),
            pseudonym=self.own.pseudonyms.of,
            smaller=self._pictures.smaller,
            trust=self.own.time.trust,
        )

    def _completion_parts(self) -> CompletionParts:
        return CompletionParts(
            config=self.live.config,
            decoder=decoder(self.live.config().reader.photo_decoder, self._chip_pictures.one_colour),
            encoded=self._chip_pictures.encoded,
            outbox=self.own.outbox,
            audit=self.own.audit,
            board=self.board,
            clock=self._clock,
            record_ready=self.uploader.wake,
            operator=self.operators.present,
            true_time=self.own.time.at,
            compare=self._vision.compare,
        )

    def _on_time(self, skew_s: float) -> None:
        """Hold our clock against the platform's; what was held for the clock is looked at again."""
        believed = self.own.time.trust().believed
        self.own.time.checked(skew_s, correct=self.live.config().platform.correct_skew)
        if not believed:
            self.completion.wake()


def _intake_token(config: Config) -> bytes:
    token = config.intake.token
    return b"" if token is None else keys.read_secret(token, "intake.token")


@contextmanager
def running(config: Config, clock: Clock) -> Iterator[Agent]:
    """Run an agent for the length of a block."""
    with owning(config, clock, PATIENCE_S) as own:
        agent = Agent(config, own, clock)
        agent.start()
        try:
            yield agent
        finally:
            agent.stop()


def serve(config_path: Path, env: Mapping[str, str] = os.environ) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT; a second one kills. `Asked`: others."""
    config_digest, config = lastrun.digest(config_path), configured(config_path, env)
    logs.set_up(config.lang, config.logging.level)
    stop, asked, env = threading.Event(), Asked(), dict(env)
    recorder = Recorder(Path(config.state_dir), SystemClock(), __version__)
    recorder.took(config_digest, fingerprint(config), config.outbox.max_bytes)
    # What we start - timedatectl, decoders - must not speak to the manager in our name.
    os.environ.pop("NOTIFY_SOCKET", None)
    malloc.give_back()
    with ExitStack() as stack:
        stack.enter_context(recorder.to_the_end())
        stack.enter_context(listening(stop, asked))
        agent = stack.enter_context(running(config, SystemClock()))

        agent.on_file = OnFile(config_path.absolute(), env)

        def reload() -> None:
            found, taken = lastrun.digest(config_path), configured(config_path, env)
            agent.reload(taken)
            recorder.took(found, fingerprint(taken), taken.outbox.max_bytes)
            recorder.write()

        verbs = handlers(agent.powers(reload))
        stack.enter_context(ControlServer.at(agent.own.state_dir, env, verbs))
        recorder.write()
        notify("READY=1", env)
        _tick(agent, stop, asked, reload, env)
        notify("STOPPING=1", env)


def _tick(
    agent: Agent,
    stop: threading.Event,
    asked: Asked,
    reload: Callable[[], None],
    env: Mapping[str, str],
) -> None:
    """Feed the watchdog while every loop beats, and tell systemd in one line how things are."""
    interval_s = watchdog_interval_s(env)
    while not stop.wait(TICK_S if interval_s is None else min(TICK_S, interval_s)):
        if agent.own.outbox.damaged:
            # The next start salvages: what is still readable goes on, within seconds.
            raise AgentError("E3107", reason="met while running")
        asked.answer(reload, agent.live.config().logging.level)
        # From the board alone: the watchdog must not depend on a disk being fast.
        told = agent.board.told()
        status = status_line(public(agent.board.snapshot()), told, agent.live.config().lang)
        notify(f"STATUS={status}" + ("\nWATCHDOG=1" if agent.healthy() else ""), env)
