"""`python -m bench.page`: the registrar's page in Chromium, the real daemon, reader, camera and platform.

How soon the page is usable after it was opened, how soon a card's result is on it after its record is
durable, and whether the desk notices fifty attempted event streams.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import requests  # noqa: E402 -- after the path to the tests' own support
from page_support import KIOSK, DeskSite, browser  # noqa: E402
from playwright.sync_api import Browser, Page  # noqa: E402

OPENINGS, CARDS, STREAMS = 10, 12, 50
USABLE_S, RESULT_S = 1.0, 0.2
#: Notes when the stage says that a record is kept, and when the view that said so had been durable.
WATCH = """() => {
  delete document.body.dataset.painted;
  const person = document.getElementById("person");
  new MutationObserver(() => {
    if (!person.textContent) return;
    requestAnimationFrame(() => setTimeout(() => document.body.dataset.painted ??= String(Date.now()), 0));
  }).observe(person, { childList: true, characterData: true, subtree: true });
}"""


def main() -> None:
    """Measure and print the table of docs/benchmarks.md."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-page-") as folder,
        DeskSite(Path(folder) / "site") as desk,
        browser() as chromium,
    ):
        openings = [_opening(desk, chromium) for _ in range(OPENINGS)]
        context = chromium.new_context(viewport=KIOSK)
        page = desk.open(context)
        page.wait_for_selector("#stage[data-state=ready]")
        quiet = [_card(desk, page, number) for number in range(CARDS)]
        with _pressed(desk, page):
            pressed = [_card(desk, page, number) for number in range(CARDS)]
    print("| what | median | worst of | bound |")
    print("| --- | --- | --- | --- |")
    _row("page usable after it was opened", openings, f"{USABLE_S:g} s")
    _row("result on the page after it is durable", [one[1] for one in quiet], f"{RESULT_S:g} s")
    _row("the same with 50 attempted streams", [one[1] for one in pressed], f"{RESULT_S:g} s")
    _row("card laid down until kept", [one[0] for one in quiet], "-")
    _row("the same with 50 attempted streams", [one[0] for one in pressed], "as above")


def _row(what: str, seconds: list[float], bound: str) -> None:
    median, worst = statistics.median(seconds), max(seconds)
    print(f"| {what} | {1000 * median:.0f} ms | {1000 * worst:.0f} ms of {len(seconds)} | {bound} |")


def _opening(desk: DeskSite, chromium: Browser) -> float:
    """Return the seconds from the address to the first view on the screen, code traded on the way."""
    context = chromium.new_context(viewport=KIOSK)
    page, address = context.new_page(), desk.address()
    started = time.monotonic()
    page.goto(address)
    page.wait_for_selector("body[data-live=yes]")
    took = time.monotonic() - started
    context.close()
    return took


def _card(desk: DeskSite, page: Page, number: int) -> tuple[float, float]:
    """Return the seconds from card to kept, and from durable to painted."""
    card = desk.cards[number % 6]
    page.evaluate(WATCH)
    before = desk.site.kept()
    started = time.monotonic()
    desk.reader.place(card)
    while desk.site.kept() == before:
        time.sleep(0.005)
    took = time.monotonic() - started
    page.wait_for_selector("body[data-painted]")
    durable = page.evaluate("fetch('/api/page').then(a => a.json()).then(v => Date.parse(v.last.at))")
    painted = float(page.evaluate("document.body.dataset.painted"))
    desk.reader.lift()
    time.sleep(1.5)
    return took, max(0.0, (painted - durable) / 1000)


@contextmanager
def _pressed(desk: DeskSite, page: Page) -> Iterator[None]:
    """Keep fifty clients asking for a stream each, as fast as they are answered."""
    token = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "kiosk_page")
    stop = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not stop.is_set():
                try:
                    with session.get(
                        f"{desk.url}/api/events", cookies={"kiosk_page": token}, stream=True, timeout=5
                    ) as answer:
                        stop.wait(0.2 if answer.status_code != 200 else 30)
                except requests.RequestException:
                    stop.wait(0.2)

    askers = [threading.Thread(target=ask, daemon=True) for _ in range(STREAMS)]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        stop.set()
        for asker in askers:
            asker.join()


if __name__ == "__main__":
    main()
