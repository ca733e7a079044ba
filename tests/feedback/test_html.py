"""One page: the figures are on it, names cannot break it, and it loads nothing."""

import re
import shutil
from html.parser import HTMLParser

import pytest

from lit_rec.feedback.html import write_page
from lit_rec.feedback.report import make_report
from lit_rec.feedback.settings import ReportSettings
from lit_rec.store.database import Exposure
from lit_rec.store.events import PAGE, FeedbackEvent


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture
def page_of(sqlite_store, tmp_path):
    def write(n_arms=2, model="m", **span):
        for n in range(40):
            arm = ["control", "<script>alert(1)</script>"][n % n_arms]
            sqlite_store.record_exposures(
                [Exposure(f"r{n}", ["1"], [0.5], f"{model}-{n % n_arms}", arm=arm, user_id=f"u{n}")]
            )
            kinds = ["impression", "click", "add_to_cart", "purchase"][: 1 + n % 4]
            sqlite_store.record([FeedbackEvent(event_type=k, request_id=f"r{n}", product_id="1") for k in kinds])
        file = tmp_path / "new" / "report.html"
        write_page(file, make_report(sqlite_store, ReportSettings(**span)))
        return file.read_text(encoding="utf-8")

    return write


def test_figures_and_plots_are_on_the_page(page_of):
    page = Page(page_of())
    assert "Click rate 75.00 % 59.81 to 85.81 %" in page.text
    assert "Impressions 40 unique: request and product" in page.text
    assert "Differences from control" in page.text
    assert "20 / 20" in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 3 * 3  # a panel a rate for arms, positions and models
    assert "Impressions 40 Clicks 30 · 75.0 % of the step before Carts 20 · 66.7 % of the step before" in page.text
    assert re.search(r"\+50\.00 \[\+?\d+\.\d+, \+\d+\.\d+\]", page.text)  # odd requests always click


def test_names_cannot_break_out(page_of):
    page = Page(page_of())
    assert "script" not in [tag for tag, _ in page.tags]
    assert "<script>alert(1)</script>" in page.text


def test_nothing_is_loaded_from_elsewhere(page_of):
    page = page_of()
    loading = [(tag, a) for tag, a in Page(page).tags if tag in {"script", "link", "img", "iframe"} or "src" in a]
    assert loading == []
    references = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', page)
    assert all((first or second).startswith("#") for first, second in references)
    assert "@import" not in page


@pytest.mark.slow
def test_on_a_phone_nothing_is_cut_off(page_of, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("needs Debian's chromium: bash scripts/ci_tools.sh")
    page_of(model="a-model-with-the-longest-name-that-anybody-would-give-it-0123456789ab")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto((tmp_path / "new" / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        wide = "[...document.querySelectorAll('*')].filter(each => each.getBoundingClientRect().right > innerWidth)"
        assert page.evaluate(f"{wide}.map(each => each.outerHTML.slice(0, 80))") == []
        hidden = "[...document.querySelectorAll('section')].filter(each => each.scrollWidth > each.clientWidth)"
        assert page.evaluate(f"{hidden}.length") == 0
        text = (
            "Math.min(...[...document.querySelectorAll('svg text')].map(each => each.getBoundingClientRect().height))"
        )
        assert page.evaluate(text) >= 9, "small, and still to be read"
        browser.close()


def test_one_model_is_not_compared_with_itself(page_of):
    page = Page(page_of(n_arms=1))
    assert "Arms" not in page.words
    assert "By model version" not in page.text
    assert "By position" in page.text


def test_what_is_left_out_is_said(page_of, sqlite_store):
    of_page = {"metadata": {"source": PAGE}}
    sqlite_store.record([FeedbackEvent(event_type="click", request_id="tried", product_id="1", **of_page)])
    page = Page(page_of())
    assert "Left out: 1 events of the service's own page (--include_page true counts them)." in page.text


def test_an_empty_span_says_so(page_of):
    page = Page(page_of(until="2020-01-01"))
    assert "No feedback events found" in page.text
    assert "before 2020-01-01" in page.text
