"""`python -m bench.pictures`: the pictures of docs/page, taken from the real page with made-up people."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from e2e_support import wait_for  # noqa: E402 -- after the path to the tests' own support
from page_support import KIOSK, SIDE_SCREEN, DeskSite, browser  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Page, expect  # noqa: E402

PICTURES = ROOT / "docs/page"
#: The reader's path is in one of the pictures.
SHORT = Path("/dev/shm")
#: Enough for flat colours and one photograph, at a quarter of the bytes.
COLOURS = 128
expect.set_options(timeout=60_000)


def main() -> None:
    """Take every picture."""
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="desk-", dir=SHORT if SHORT.is_dir() else None) as folder,
        DeskSite(Path(folder) / "site") as desk,
        browser() as chromium,
    ):
        kiosk = chromium.new_context(viewport=KIOSK, reduced_motion="reduce")
        page = desk.open(kiosk)
        _sign_in(page)
        _state(page, "ready")
        _take(page, "ready")
        desk.reader.place(desk.failing)
        _state(page, "busy")
        page.wait_for_selector("#picture[src]")
        _take(page, "working")
        _state(page, "kept")
        expect(page.locator("#todo > li:not(.none)")).to_have_count(1)
        desk.reader.lift()
        _take(page, "go-on")
        desk.reader.place(desk.without_nation)
        expect(page.locator("#held > li:not(.none)")).to_have_count(1)
        desk.reader.lift()
        page.locator("#todo").get_by_role("button", name="办结").click()
        _take(page, "settle")
        page.keyboard.press("Escape")
        side = chromium.new_context(viewport=SIDE_SCREEN, color_scheme="dark", reduced_motion="reduce")
        dark = desk.open(side)
        dark.goto(f"{desk.url}/?lang=en")
        dark.wait_for_selector("body[data-live=yes]")
        _state(dark, "kept")
        _take(dark, "dark", 1280)
        desk.platform.kill()
        desk.reader.place(desk.passing)
        wait_for("the platform is missed", lambda: "[E4101]" in desk.site.log())
        desk.reader.lift()
        page.locator("#tab-it").click()
        expect(page.locator(".problem")).not_to_have_count(0)
        _take(page, "it")
        page.locator("#tab-desk").click()
        desk.reader.unplug()
        _state(page, "attention")
        _take(page, "call-it")


def _sign_in(page: Page) -> None:
    page.keyboard.press("F2")
    page.get_by_label("李静").check()
    page.keyboard.press("Enter")
    expect(page.locator("#operator-name")).to_have_text("李静")


def _state(page: Page, wanted: str) -> None:
    expect(page.locator("#stage")).to_have_attribute("data-state", wanted)


def _take(page: Page, name: str, width: int | None = None) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if width is not None:
        size = (width, round(picture.height * width / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    small = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
