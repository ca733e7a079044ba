"""The page in a real browser: the whole path with mouse and with keyboard alone, on a phone, in trouble."""

import os
import re
import shutil
from contextlib import ExitStack

import httpx
import pytest

from lit_rec.core import schema
from lit_rec.core.files import write_json
from lit_rec.feedback.report import make_report
from lit_rec.feedback.settings import ReportSettings

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
expect = sync_api.expect

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
LONG_MS = 30_000  # on a busy core


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        message = "needs Debian's chromium: bash scripts/ci_tools.sh"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        expect.set_options(timeout=LONG_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def users(processed_dir, tmp_path_factory):
    from lit_rec.data.processed import ProcessedFolder
    from lit_rec.packaging.users import held_out_users

    file = tmp_path_factory.mktemp("held_out") / "users.json"
    known = held_out_users(ProcessedFolder(processed_dir), 8)
    write_json(file, known)
    return file, known


@pytest.fixture(scope="module")
def taught_model(tiny_model, processed_dir, tmp_path_factory):
    """The tiny model with a ranker that was trained long enough to know what is bought again."""
    from lit_rec.data.processed import ProcessedFolder
    from lit_rec.ranking.settings import RankerSettings
    from lit_rec.ranking.training import fit_ranker

    folder = tmp_path_factory.mktemp("taught") / "final"
    shutil.copytree(tiny_model, folder)
    write_json(folder / schema.MODEL_RECORD, {"data": {}})
    settings = RankerSettings(hidden_size=8, ensemble_size=1, max_epochs=20, learning_rate=0.01)
    fit_ranker(ProcessedFolder(processed_dir), folder, settings)
    return folder


@pytest.fixture
def service(serve, users, taught_model):
    """Start the service behind a socket; it runs until the page is closed."""
    with ExitStack() as stack:
        usual = {"model_dir": taught_model, "users_path": users[0], "serve_page": True}
        yield lambda **others: stack.enter_context(serve(**{**usual, **others}))


@pytest.fixture
def visit(chromium, service):
    """Open the page; at the end nothing may have been loaded from elsewhere, and nothing complained about."""
    opened = []

    def go(url, *, allow=(), **options):
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
        context.set_default_timeout(LONG_MS)
        page = context.new_page()
        complaints, elsewhere = [], []
        page.on("console", lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(url) else None)
        page.goto(url + "/")
        opened.append((context, complaints, elsewhere, allow))
        return page

    yield go
    for context, complaints, elsewhere, allow in opened:
        context.close()
        assert elsewhere == []
        assert [text for text in complaints if not any(part in text for part in allow)] == []


def cards(page):
    return page.locator(".cards > li[data-product]")


def recommended(page):
    return cards(page).evaluate_all("cards => cards.map(card => card.dataset.product)")


def step(page, name):
    return page.locator(f'.funnel [data-step="{name}"] strong')


def is_settled(page):
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


def expect_cards(page, product_ids):
    """The page shows these, in this order."""
    page.wait_for_function(
        """ids => String([...document.querySelectorAll(".cards > li[data-product]")].map(card => card.dataset.product))
        === String(ids)""",
        arg=product_ids,
    )
    is_settled(page)


def ask(url, **body):
    answer = httpx.post(f"{url}/recommend", json=body).json()
    return [each["product_id"] for each in answer["recommendations"]]


def test_a_user_from_choice_to_purchase(service, visit, users, until):
    url, app = service()
    user_id = list(users[1])[2]
    known = users[1][user_id]
    page = visit(url)
    page.get_by_label(re.compile("^User")).select_option(user_id)
    page.get_by_label("Show", exact=True).select_option("50")
    expect(cards(page)).to_have_count(50)
    expect_cards(page, ask(url, user_id=user_id, top_k=50))
    assert page.url.endswith(f"#user={user_id}")

    # what they really bought next is marked, and counted
    found = set(recommended(page)) & set(known["next"])
    assert found, "a user who buys the same again, and a ranker that knows it"
    expect(page.locator("#hits strong")).to_have_text(f"{len(found)} of 50")
    hits = page.locator(".card.is-hit").evaluate_all("cards => cards.map(card => card.dataset.product)")
    assert set(hits) == found
    expect(page.locator(".really .hit")).to_have_count(len(found))
    expect(page.locator(".really .names > li")).to_have_count(len(known["next"]))
    expect(page.get_by_role("heading", name=f"{len(known['orders'])} past order")).to_be_visible()
    expect(page.locator(".timeline circle")).to_have_count(len(known["orders"]))

    # look, put into the cart, buy
    page.get_by_role("button", name="Since I came").click()
    until(lambda: int(step(page, "impression").text_content()) >= 50)
    card = cards(page).nth(2)
    product = card.get_attribute("data-product")
    card.locator("button.title").click()
    expect(card.locator(".details")).to_contain_text(product)
    said = page.locator("body > #app > [role=status]")
    expect(said).to_have_text(re.compile("^Looked at"))
    card.get_by_role("button", name=re.compile("^Add to cart")).click()
    expect(said).to_have_text(re.compile("^Added to the cart"))
    card.get_by_role("button", name=re.compile("^Buy")).click()
    expect(said).to_have_text(re.compile("^Bought"))
    bought = card.get_by_role("button", name=re.compile("^Bought"))
    expect(bought).to_have_attribute("aria-pressed", "true")
    bought.click()  # once more changes nothing
    for name in ("click", "add_to_cart", "purchase"):
        expect(step(page, name)).to_have_text("1")
    counts = app.state.store.funnel()
    assert [counts[name] for name in ("click", "add_to_cart", "purchase")] == [1, 1, 1]
    assert counts["impression"] == int(step(page, "impression").text_content())
    report = make_report(app.state.store, ReportSettings())
    assert (report["n_requests"], sum(report["left_out"].values())) == (0, counts["impression"] + 3), "nobody shopped"
    served = httpx.get(f"{url}/metrics").text
    assert "feedback_unattributed_total 0.0" in served, "events name lists that were served"


def test_the_fragment_of_version_0_1_names_a_user_too(service, visit, users):
    url, _ = service()
    user_id, page = list(users[1])[-1], visit(url)
    page.goto("about:blank")
    page.goto(f"{url}/#shopper={user_id}")
    expect(page.get_by_label(re.compile("^User"))).to_have_value(user_id)


def test_leaving_out_and_taking_back(service, visit, users):
    user_id = next(iter(users[1]))
    url, _ = service()
    page = visit(url)
    expect(cards(page)).to_have_count(10)
    before = recommended(page)
    cards(page).nth(1).get_by_role("button", name=re.compile("^Leave out")).click()
    expect(page.locator(f'.card[data-product="{before[1]}"]')).to_have_count(0)
    expect_cards(page, ask(url, user_id=user_id, exclude_product_ids=[before[1]]))
    expect(cards(page).nth(1).locator("[data-exclude]")).to_be_focused()
    page.get_by_role("button", name=re.compile("^Recommend .* again$")).click()
    expect(page.locator(f'.card[data-product="{before[1]}"]')).to_have_count(1)
    assert recommended(page) == before

    page.get_by_label("Only what is new to them").check()
    bought = {product for order in users[1][user_id]["orders"] for product in order["product_ids"]}
    expect_cards(page, ask(url, user_id=user_id, exclude_product_ids=sorted(bought)))
    assert not set(recommended(page)) & bought
    expect(cards(page)).to_have_count(10)


def test_a_history_built_with_the_keyboard_alone(service, visit, corpus):
    url, _ = service()
    page = visit(url)
    expect(cards(page)).to_have_count(10)
    keys = page.keyboard

    def tab_to(name, most=40):
        for _ in range(most):
            keys.press("Tab")
            label = page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText"
            )
            if name in (label or "") or page.evaluate("document.activeElement.id") == name:
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
                return
        raise AssertionError(f"Tab does not lead to {name}")

    keys.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the recommendations"
    tab_to("Build one")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="What most people buy")).to_be_visible()
    tab_to("search")
    search, options = page.get_by_role("combobox", name="Add products"), page.get_by_role("option")
    chosen = []
    for typed in ("organic", "milk"):
        keys.type(typed)
        expect(search).to_have_attribute("aria-expanded", "true")
        expect(options.first).to_contain_text(re.compile(typed, re.IGNORECASE))
        keys.press("ArrowDown")
        keys.press("ArrowDown")
        active = search.get_attribute("aria-activedescendant")
        assert active == options.nth(1).get_attribute("id")
        chosen.append(options.nth(1).get_attribute("data-id"))
        keys.press("Enter")
        expect(search).to_have_value("")
        expect(search).to_be_focused()
        expect(search).to_have_attribute("aria-expanded", "false")
    expect(page.locator(".orders .removable")).to_have_count(2)
    expect(page.get_by_role("heading", name="What they will buy next")).to_be_visible()
    expect_cards(page, ask(url, history=[{"product_ids": chosen}]))

    keys.type("milk")
    expect(options.first).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    search.fill("")
    tab_to("Next order")
    keys.press("Enter")
    tab_to("search") if page.evaluate("document.activeElement.id") == "search" else search.focus()
    keys.type("milk")
    expect(options.first).to_be_visible()
    chosen.append(options.first.get_attribute("data-id"))
    keys.press("Enter")  # the first is taken without an arrow
    expect(page.locator(".orders > li")).to_have_count(2)
    expect(page.locator(".orders .removable")).to_have_count(3)
    is_settled(page)
    history = [{"product_ids": chosen[:2]}, {"product_ids": chosen[2:], "days_since_prior_order": 7}]
    expect_cards(page, ask(url, history=history))
    tab_to("out of order 2")
    keys.press("Enter")
    expect(page.locator(".orders .removable")).to_have_count(2)
    tab_to("Add to cart")
    keys.press("Enter")
    expect(step(page, "add_to_cart")).to_have_text("1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 900, 1440])
def test_it_fits_any_width_and_keeps_the_rules_of_accessibility(service, visit, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    url, _ = service()
    size = {"width": width, "height": 780}
    page = visit(url, viewport=size, color_scheme=scheme, reduced_motion="reduce", has_touch=width == 360)
    expect(cards(page)).to_have_count(10)
    expect(step(page, "impression")).to_be_visible()
    cards(page).first.locator("button.title").click()
    cards(page).first.get_by_role("button", name=re.compile("^Buy")).click()
    cards(page).nth(1).locator("[data-exclude]").click()
    expect(page.locator(".excluded")).to_be_visible()

    def check():
        is_settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
        small = "[...document.querySelectorAll('button, select')].filter(b => b.offsetParent && b.offsetHeight < 24)"
        assert page.evaluate(f"{small}.length") == 0, "too small for a finger"

    check()
    page.get_by_role("button", name="Build one").click()
    page.get_by_label("Add products").fill("organic")
    expect(page.get_by_role("option").first).to_be_visible()
    check()
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 19)"
    assert is_dark == (scheme == "dark")
    assert page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"


def test_a_key_is_asked_for_once_and_stays_in_the_tab(service, visit):
    url, _ = service(api_key="secret")
    page = visit(url, allow=["401"])
    dialog = page.get_by_role("dialog", name="This service asks for a key")
    expect(dialog).to_be_visible()
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("That key is not accepted.")
    page.get_by_label("API key").fill("secret")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(cards(page)).to_have_count(10)
    page.reload()
    expect(cards(page)).to_have_count(10)
    expect(dialog).to_be_hidden()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_too_many_requests_say_when_to_try_again_and_it_does(service, visit):
    url, _ = service(rate_limit="3 per 20 second")
    page = visit(url, allow=["429"])
    expect(cards(page)).to_have_count(10)
    problem, number = page.locator(".problem"), 10
    for number in (20, 50, 20, 50, 20, 50):
        page.get_by_label("Show", exact=True).select_option(str(number))
        page.wait_for_timeout(300)
        is_settled(page)
        if problem.is_visible():
            break
    words = problem.inner_text()
    assert "Too many requests" in words
    assert re.search(r"Trying again in \d+ seconds?\.", words)
    assert re.search(r"Request id [0-9a-f-]{36}\b", words)
    expect(cards(page)).to_have_count(number)
    expect(problem).to_have_count(0)


def test_a_service_that_is_gone_is_said_so_and_tried_again(service, visit):
    url, _ = service()
    page = visit(url, allow=["ERR_INTERNET_DISCONNECTED"])
    expect(cards(page)).to_have_count(10)
    page.context.set_offline(True)
    page.get_by_label("Show", exact=True).select_option("20")
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    expect(cards(page)).to_have_count(10)
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(cards(page)).to_have_count(20)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_one_of_many_users_is_found_by_a_part_of_the_id(service, users, visit, tmp_path):
    known = list(users[1].values())
    write_json(tmp_path / "many.json", {f"someone-{number}": known[number % len(known)] for number in range(120)})
    url, _ = service(users_path=tmp_path / "many.json")
    page = visit(url)
    expect(cards(page)).to_have_count(10)
    choice = page.get_by_label(re.compile("^User"))
    expect(choice.locator("option")).to_have_count(50)
    page.get_by_label(re.compile("^Find a user of 120")).fill("one-11")
    expect(page.get_by_text("11 users found")).to_be_visible()
    expect(choice.locator("option")).to_have_count(12)  # and the one who is shown
    page.keyboard.press("Enter")
    expect(choice).to_have_value("someone-11")
    expect(page).to_have_url(re.compile("#user=someone-11$"))
    choice.select_option("someone-117")
    expect(page).to_have_url(re.compile("#user=someone-117$"))
    page.get_by_label(re.compile("^Find a user")).fill("nobody")
    expect(page.get_by_text("Nobody of that id")).to_be_visible()
    expect(choice).to_have_value("someone-117")


def test_nothing_is_claimed_of_users_whom_any_file_may_hold(service, visit):
    url, _ = service()
    page = visit(url)
    expect(cards(page)).to_have_count(10)
    words = page.locator(".side").inner_text().lower()
    assert "training" not in words
    assert "held-out" not in words


def test_a_service_without_users_begins_with_building(service, tiny_model, visit, tmp_path):
    write_json(tmp_path / "nobody.json", {})
    url, _ = service(model_dir=tiny_model, users_path=tmp_path / "nobody.json")
    page = visit(url)
    expect(page.get_by_role("button", name="Build one")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="A known user")).to_be_disabled()
    expect(page.get_by_text("Nothing in it yet: search above.")).to_be_visible()
    expect(cards(page)).to_have_count(10)
