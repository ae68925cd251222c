"""`demo`: the main job once, with nothing attached, told step by step.

Every part is the real one - bytes over a pty, face engine, outbox, signature, SM4, HTTP - except what
stands for the outside world: the reader, the camera's picture and the platform are simulated.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.catalogue import AgentError, entry
from agent.cli.options import Settings, Verb, pass_settings
from agent.cli.screen import padded

if TYPE_CHECKING:
    from agent.board import Event
    from agent.service import Agent
    from agent.simulate.platform import SimulatedPlatform
    from drivers.simulator.reader import SimulatedReader

CARD_HOLDER = "collins"
IMPOSTOR = "hopper"
#: One card takes about two seconds; a machine under load may take much longer, but not for ever.
PATIENCE_S = 60.0
POLL_S = 0.02

#: What of the board is worth a line, and what the step is called.
STEPS = {
    "I5001": ("平台", "platform"),
    "I1003": ("读卡器", "reader"),
    "I1004": ("刷卡", "card"),
    "I2001": ("比对", "compare"),
    "I2003": ("比对", "compare"),
    "I2004": ("比对", "compare"),
    "W2001": ("提示", "notice"),
    "W2002": ("提示", "notice"),
    "I3001": ("落盘", "disk"),
    "I5002": ("上传", "upload"),
    "I5003": ("回执", "receipt"),
}
#: What is shown beside a step's sentence.
DETAILS = {"I3001": ("record", "person"), "I5003": ("request",)}
STEP_CELLS = 9
LEDGER_KEYS = ("requestId", "faceResult", "faceScore", "verifyTime", "deviceNo", "bodyLength", "bodySm3")


def register(group: click.Group) -> None:
    """Add the verb of this file."""
    group.add_command(demo)


@click.command(cls=Verb)
@click.option(
    "--cards", type=click.IntRange(1, 100), default=1, show_default=True, help="几张卡 / how many cards"
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--impostor", is_flag=True, help="摄像头前是另一个人 / somebody else sits before the camera")
@click.option("--keep", is_flag=True, help="保留全部文件到 ./demo-run / keep all files in ./demo-run")
@pass_settings
def demo(settings: Settings, cards: int, seed: int, impostor: bool, keep: bool) -> None:
    """演示：一次核验的全程 / watch one verification travel the whole way."""
    with _folder(keep) as folder, _stage(folder, settings, cards, seed, impostor) as stage:
        teller = Teller(settings, stage)
        teller.opening(impostor)
        for number in range(cards):
            stage.reader.place(stage.reader.cards[number])
            teller.follow_until(delivered=number + 1)
            stage.reader.lift()
        teller.closing(folder if keep else None)


@dataclass
class Stage:
    """Everything that runs during the demo."""

    agent: Agent
    platform: SimulatedPlatform
    reader: SimulatedReader
    log: Path


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    if keep:
        folder = Path("demo-run") / time.strftime("%Y%m%d-%H%M%S")
        folder.mkdir(parents=True, mode=0o700)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="kiosk-agent-demo-") as name:
        yield Path(name)


@contextmanager
def _stage(folder: Path, settings: Settings, cards: int, seed: int, impostor: bool) -> Iterator[Stage]:
    import cv2

    from agent import logs
    from agent.clock import SystemClock
    from agent.config import load
    from agent.service import running
    from agent.simulate import portraits, site
    from agent.simulate.platform import SimulatedPlatform
    from drivers.simulator import cards as deck
    from drivers.simulator.reader import SimulatedReader

    camera = folder / "camera.png"
    cv2.imwrite(str(camera), portraits.live(IMPOSTOR if impostor else CARD_HOLDER))
    log = folder / "agent.log"
    with ExitStack() as stack:
        stream = stack.enter_context(log.open("w", encoding="utf-8"))
        reader = SimulatedReader(deck.generate(seed, cards), [portraits.path(CARD_HOLDER)])
        stack.enter_context(reader)
        credentials = site.Credentials.made_up()
        ledger = folder / "ledger.jsonl"
        platform = SimulatedPlatform(credentials.secret, site.ORG_APP_ID, credentials.ticket, ledger)
        stack.enter_context(platform)
        config = load(
            site.build(
                folder,
                credentials,
                base_url=platform.url,
                reader_port=reader.port,
                camera=str(camera),
                lang=settings.language,
            )
        )
        logs.set_up(config.lang, config.logging.level, stream)
        agent = stack.enter_context(running(config, SystemClock()))
        yield Stage(agent, platform, reader, log)


class Teller:
    """Tells what happens, as it happens."""

    def __init__(self, settings: Settings, stage: Stage) -> None:
        self._settings = settings
        self._stage = stage
        self._started = time.monotonic()
        self._pause = threading.Event()
        self._seen = 0
        self._line = ""

    def opening(self, impostor: bool) -> None:
        """Say what is real here and what is not."""
        say = self._settings.say
        say(
            "演示：读卡器、摄像头画面和平台是模拟的，其余都是真的。\n"
            "现场照片由证件照翻转、旋转、模糊、调暗而成：只说明流程，不说明准确率。",
            "Demo: reader, camera picture and platform are simulated, all else is real.\n"
            "The live picture is the card's portrait, mirrored, turned, blurred and darkened:\n"
            "this shows the way, not the accuracy.",
        )
        url, port = self._stage.platform.url, self._stage.reader.port
        if impostor:
            say("这次摄像头前是另一个人。", "This time somebody else sits before the camera.")
        say(
            f"平台 {url}（验签、SM4）；读卡器 {port}（115200 8N1）",
            f"platform {url} (signature, SM4); reader {port} (115200 8N1)",
        )
        click.echo()

    def follow_until(self, delivered: int) -> None:
        """Print each step until so many records were delivered. AgentError E8107 when it takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        outbox = self._stage.agent.own.outbox
        while outbox.counts().delivered < delivered:
            self._print_new()
            if time.monotonic() > deadline:
                raise AgentError("E8107", seconds=PATIENCE_S)
            self._pause.wait(POLL_S)
        self._print_new()

    def closing(self, kept: Path | None) -> None:
        """Print what the platform accepted, and that the log names nobody."""
        say = self._settings.say
        click.echo()
        say(
            "平台接收的内容（模拟平台的账本，不含个人信息）：",
            "What the platform accepted (its ledger, without personal data):",
        )
        for line in self._stage.platform.accepted():
            click.echo("  " + json.dumps({key: line[key] for key in LEDGER_KEYS}, ensure_ascii=False))
        kept_count = self._stage.agent.own.outbox.counts()
        accepted, delivered, off = kept_count.accepted, kept_count.delivered, kept_count.difference
        others = accepted - delivered
        say(
            f"账目：接收 {accepted} = 送达 {delivered} + 其余 {others}，差额 {off}",
            f"balance: accepted {accepted} = delivered {delivered} + others {others}, off by {off}",
        )
        self._check_log()
        if kept is not None:
            say(f"文件保留在 {kept}", f"files kept in {kept}")

    def _print_new(self) -> None:
        for event in self._stage.agent.board.events(after=self._seen):
            self._seen = event.number
            self._print_event(event)
            self._print_screen()

    def _print_event(self, event: Event) -> None:
        lang = 0 if self._settings.language == "zh" else 1
        if event.code not in STEPS and entry(event.code).severity == "info":
            return
        step = padded(STEPS.get(event.code, ("注意", "attention"))[lang], STEP_CELLS)
        title = entry(event.code).title(self._settings.language, event.facts)
        details = [f"{key} {event.facts[key]}" for key in DETAILS.get(event.code, ()) if key in event.facts]
        seconds = time.monotonic() - self._started
        click.echo("  ".join([f"{seconds:7.2f} s", step, title, *details]))

    def _print_screen(self) -> None:
        screen = self._stage.agent.board.snapshot().get("screen", {})
        code = str(screen.get("code", ""))
        if not code or code == self._line:
            return
        self._line = code
        text = entry(code).title(self._settings.language)
        indent = " " * (11 + STEP_CELLS + 2)
        self._settings.say(f"{indent}登记员看到：【{text}】", f"{indent}the registrar sees: [{text}]")

    def _check_log(self) -> None:
        text = self._stage.log.read_text("utf-8")
        fields = [field for card in self._stage.reader.cards for field in card.personal_fields()]
        found = [field for field in fields if field in text]
        if found:
            raise AgentError("E8108", count=len(found))
        self._settings.say(
            f"日志 {len(text.splitlines())} 行，检查了 {len(fields)} 个证件字段：均未出现",
            f"log: {len(text.splitlines())} lines, {len(fields)} fields of the cards looked for: none found",
        )
