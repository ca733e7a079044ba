"""Takes the pictures of the demo page in docs/ from a running service.

python scripts/screenshots.py --url http://127.0.0.1:3000 --user 129617529

Needs playwright and Debian's chromium. A few users are visited first, and some of what they really bought is looked
at, put into the cart and bought by pressing the page's buttons, so that the funnel shows something.
"""

import argparse
import re
import shutil
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
LONG_MS = 60_000
LARGEST = 300_000  # bytes
VISITS = 6

Scheme = Literal["light", "dark"]


def main() -> None:
    """Visit, press, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="of the running service")
    parser.add_argument("--user", required=True, help="user id of the user in the pictures")
    parser.add_argument("--output_dir", type=Path, default=DOCS)
    asked = parser.parse_args()
    expect.set_options(timeout=LONG_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        visit_some(browser, asked.url)
        pictures: list[tuple[str, int, int, float, Scheme]] = [
            ("page_desktop", 1440, 1000, 1, "light"),
            ("page_dark", 1440, 1000, 1, "dark"),
            ("page_phone", 360, 1500, 1.5, "light"),
        ]
        for name, width, height, scale, scheme in pictures:
            page = opened(browser, f"{asked.url}/#user={asked.user}", width, height, scale, scheme)
            act(page, 1)
            expect(page.locator('.card:has([aria-pressed="true"])').first).to_be_visible()
            page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
            page.mouse.move(0, 0)
            file = asked.output_dir / f"{name}.png"
            page.wait_for_timeout(1_000)  # the figures are read anew after feedback
            page.screenshot(path=file)
            print(f"{file}: {file.stat().st_size:,} bytes")
            assert file.stat().st_size < LARGEST, "too large for a repository"
            page.context.close()
        browser.close()


def visit_some(browser: Browser, url: str) -> None:
    """The first users that the page lists."""
    page = opened(browser, url, 1440, 1000, 1, "light")
    choice = page.locator("#user")
    for user_id in choice.locator("option").evaluate_all("all => all.map(each => each.value)")[:VISITS]:
        choice.select_option(user_id)
        expect(page).to_have_url(re.compile(f"user={user_id}$"))
        settled(page)
        act(page, 2)
    page.context.close()


def act(page: Page, n_hits: int) -> None:
    """Look at some hits; put the first into the cart, and buy it."""
    hits = page.locator(".card.is-hit")
    n_hits = min(n_hits, hits.count())
    for row in range(n_hits):
        hits.nth(row).locator("button.title").click()
    for name in ("Add to cart", "Buy") if n_hits else ():
        hits.first.get_by_role("button", name=re.compile(f"^{name}")).click()


def opened(browser: Browser, url: str, width: int, height: int, scale: float, scheme: Scheme) -> Page:
    """The page with its recommendations."""
    size: ViewportSize = {"width": width, "height": height}
    context = browser.new_context(
        viewport=size, device_scale_factor=scale, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(url)
    settled(page)
    return page


def settled(page: Page) -> None:
    """Wait for recommendations of the user that was chosen."""
    page.wait_for_timeout(500)
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".card h3").first).to_be_visible()


if __name__ == "__main__":
    main()
