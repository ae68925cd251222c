"""The page in a real browser: the daemon as its own process, a reader on a pty, a camera that is a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from e2e_support import Process, Site, free_port, wait_for
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from agent.control import call
from agent.simulate import portraits
from drivers.simulator import cards as deck
from drivers.simulator.cards import SimulatedCard
from drivers.simulator.reader import SimulatedReader

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
#: No sandbox of its own where the tests run as root; nothing that asks hosts on the internet.
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
OPERATORS = ["李静", "覃秀兰", "黄小芳"]
KIOSK: ViewportSize = {"width": 1024, "height": 768}
SIDE_SCREEN: ViewportSize = {"width": 1920, "height": 1080}


@contextmanager
def browser() -> Iterator[Browser]:
    """Run Chromium for the length of a block."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        try:
            yield chromium
        finally:
            chromium.close()


def violations(page: Page) -> list[tuple[str, str]]:
    """Return what axe-core has to say against the page as it stands: rule and first element."""
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate("axe.run().then(result => result.violations)")
    return [(one["id"], one["nodes"][0]["html"]) for one in found]


class DeskSite:
    """A made-up hospital whose desk is at hand: lay cards down, pull cables, open pages."""

    def __init__(self, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
        self.port = free_port()
        console = {"listen": f"127.0.0.1:{self.port}", "clear_after_s": 600}
        given = dict(changes or {})
        given["console"] = {**console, **given.get("console", {})}
        given.setdefault("operators", {"default": None, "list": OPERATORS})
        self.site = Site(folder, given)
        women = deck.generate(7, 9)
        #: The camera sees the owner of the first, third ... card; the others belong to somebody else.
        self.cards = [
            *women[:6],
            replace(women[6], nation_code="  "),
            replace(women[7], sex_code="1"),
            women[8],
        ]
        self._stack = ExitStack()
        self.reader: SimulatedReader
        self.daemon: Process
        self.platform: Process

    @property
    def url(self) -> str:
        """Return where the page is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def passing(self) -> SimulatedCard:
        """Return a card whose portrait is the person before the camera."""
        return self.cards[0]

    @property
    def failing(self) -> SimulatedCard:
        """Return a card whose portrait is somebody else."""
        return self.cards[1]

    @property
    def without_nation(self) -> SimulatedCard:
        """Return a card that carries no nation, as a foreigner's."""
        return self.cards[6]

    @property
    def companions(self) -> SimulatedCard:
        """Return a man's card."""
        return self.cards[7]

    def before_the_camera(self, who: str | None) -> None:
        """Seat somebody before the camera, or nobody: then an attempt looks for a while."""
        empty = np.full((720, 1280, 3), 120, np.uint8)
        picture = empty if who is None else portraits.live(who)
        draft = self.site.folder / "draft.png"
        cv2.imwrite(str(draft), picture)
        draft.replace(self.site.folder / "camera.png")
        # A picture is read once: the vision process that has it makes way for one that has the new one.
        ups = self.site.log().count("[I2002]")
        for child in psutil.Process(self.daemon.pid).children():
            if "agent.vision.child" in child.cmdline():
                child.kill()
        wait_for("the new picture is seen", lambda: self.site.log().count("[I2002]") > ups)

    def __enter__(self) -> DeskSite:
        pictures = [portraits.path(name) for name in portraits.NAMES]
        self.reader = self._stack.enter_context(SimulatedReader(self.cards, pictures))
        self.reader.link(self.site.reader_link)
        self.platform = self._stack.enter_context(self.site.platform())
        self.start()
        return self

    def start(self) -> None:
        """Start the daemon and wait until it serves."""
        starts = self.site.log().count("[I8401]")
        self.daemon = self._stack.enter_context(self.site.daemon())
        wait_for("the daemon serves", lambda: self.site.log().count("[I8401]") > starts)

    def stop(self) -> None:
        """Stop the daemon."""
        assert self.daemon.terminate(10) == 0

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self) -> str:
        """Return a one-time address, from where the desktop entry gets it."""
        opened = call(self.site.folder / "state", "page.open")
        return f"{opened['url']}#{opened['code']}"

    def open(self, context: BrowserContext) -> Page:
        """Open the page with a fresh one-time code."""
        page = context.new_page()
        page.goto(self.address())
        page.wait_for_selector("body[data-live=yes]")
        return page
