"""Searching the catalogue: what is found, in which order, and how fast."""

import random
import time

import pytest

from lit_rec.data.contexts import product_text
from lit_rec.service.catalogue import Catalogue, Product

NAMES = ["Oat Milk", "Milk Chocolate", "Milk", "Buttermilk", "Whole Milk, 2.5%", "Crème Fraîche", "Soap"]
CORPUS = {f"p{row}": product_text(name, "dairy" if row < 6 else "milk baths", "food") for row, name in enumerate(NAMES)}


def names(found):
    return [product.name for product in found]


@pytest.fixture(scope="module")
def catalogue():
    return Catalogue(CORPUS)


def test_beginnings_come_before_words_before_parts_of_words_before_aisles(catalogue):
    assert names(catalogue.search("milk")) == [
        "Milk", "Milk Chocolate", "Oat Milk", "Whole Milk, 2.5%", "Buttermilk", "Soap",
    ]  # fmt: skip


def test_of_equal_fit_the_popular_comes_first():
    popularity = [0.0, 9.0, 1.0, 0.0, 3.0, 0.0, 0.0]
    found = names(Catalogue(CORPUS, popularity).search("milk"))
    assert found[:4] == ["Milk Chocolate", "Milk", "Whole Milk, 2.5%", "Oat Milk"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("CREME", ["Crème Fraîche"]),
        ("fraîche crème", ["Crème Fraîche"]),
        ("milk whole", ["Whole Milk, 2.5%"]),
        ("2.5%", ["Whole Milk, 2.5%"]),
        ("choc milk", ["Milk Chocolate"]),
        ("dairy butter", ["Buttermilk"]),
        ("  ", []),
        ("%.,", []),
        ("moon dust", []),
    ],
)
def test_every_word_must_be_there_whatever_case_accents_order_and_punctuation(catalogue, typed, found):
    assert names(catalogue.search(typed)) == found


def test_no_more_than_asked_for(catalogue):
    assert names(catalogue.search("milk", limit=2)) == ["Milk", "Milk Chocolate"]


def test_products_by_id(catalogue):
    assert catalogue["p4"] == Product("p4", "Whole Milk, 2.5%", "dairy", "food")
    assert catalogue["gone"] == Product("gone", "gone", "", "")
    assert Catalogue({"a": "any text"})["a"] == Product("a", "any text", "", "")


def test_fifty_thousand_products_are_searched_while_one_types():
    rng = random.Random(0)
    syllables = ["ba", "nana", "milk", "or", "ganic", "bread", "rye", "so", "da", "cho", "co", "late"]
    word = lambda: "".join(rng.choices(syllables, k=3))  # noqa: E731
    catalogue = Catalogue({str(row): product_text(f"{word()} {word()}", word(), word()) for row in range(50_000)})
    took = []
    for typed in ("milk", "so da", "nobody"):
        began = time.perf_counter()
        catalogue.search(typed)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1, "seconds, on a busy core; 5 to 10 ms on a free one"
