"""Catalogue of the synthetic source: names that share words within an aisle, and a power law of popularity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_WORDS = Path(__file__).with_name("synthetic_words.yaml")
_PRODUCTS_AN_AISLE = 8  # at least, on average: small catalogues have fewer aisles


@dataclass(frozen=True)
class Catalogue:
    """Products by product index, sorted by aisle: a draw within an aisle is a draw from one interval.

    Args:
        departments: names; the id of each is its index + 1.
        aisles: names; the id of each is its index + 1.
        names: product names.
        product_ids: id of each product, shuffled.
        aisle: index of each product's aisle.
        aisle_department: index of each aisle's department.
        cumulative: popularity of all products up to and with this one; the last is 1.
        edges: cumulative popularity where each aisle begins, and 1; shape (aisles + 1,).
        aisle_pace: factor on the purchase intervals of each aisle; geometric mean over sales 1.
    """

    departments: list[str]
    aisles: list[str]
    names: list[str]
    product_ids: Ints
    aisle: Ints
    aisle_department: Ints
    cumulative: Floats
    edges: Floats
    aisle_pace: Floats


def make_catalogue(n_products: int, stream: Sequence[int]) -> Catalogue:
    """Names, aisles and popularity of a shop's products, drawn at random.

    Args:
        n_products: size of the catalogue, at least 24.
        stream: seed of a random stream of its own.
    """
    rng = np.random.default_rng(stream)
    words = yaml.safe_load(_WORDS.read_text(encoding="utf-8"))
    # The first aisle of every department, then the second of every one, and so on.
    places = [(rank, place, aisle) for place in words["departments"] for rank, aisle in enumerate(place["aisles"])]
    places = sorted(places, key=lambda place: place[0])[: n_products // _PRODUCTS_AN_AISLE]
    department_of = [department for _, department, _ in places]
    departments = list(dict.fromkeys(department["name"] for department in department_of))
    aisles = [aisle for _, _, aisle in places]
    n_aisles = len(aisles)

    shares = rng.lognormal(0, 0.65, n_aisles)
    sizes = 1 + rng.multinomial(n_products - n_aisles, shares / shares.sum())
    aisle = np.repeat(np.arange(n_aisles), sizes)
    names: dict[str, None] = {}  # a set in order
    for place, kinds, size in zip(department_of, aisles, sizes.tolist(), strict=True):
        wanted = len(names) + size
        for name in _names(rng, words, place, place["aisles"][kinds], size):
            if len(names) == wanted:
                break
            names.setdefault(name)

    # A power law of the rank, steeper beyond a bend, fitted to Kaggle's counts by product. The rank is that of a
    # score: the pull of department and aisle, more for the plain kinds ("Bananas" leads at Kaggle too), and chance.
    pull = np.array([department["pull"] for department in department_of]) + rng.normal(0, 0.5, n_aisles)
    n_kinds = np.array([len(place["aisles"][kinds]) for place, kinds in zip(department_of, aisles, strict=True)])
    is_plain = np.arange(n_products) - (np.cumsum(sizes) - sizes)[aisle] < n_kinds[aisle]
    score = pull[aisle] + 1.5 * is_plain + rng.normal(0, 1, n_products)
    rank = np.empty(n_products)
    rank[np.argsort(-score, kind="stable")] = np.arange(1, n_products + 1)
    cumulative = np.cumsum(rank**-0.6 * (1 + 25 * rank / n_products) ** -1.1)
    cumulative /= cumulative[-1]
    edges = np.concatenate([[0.0], cumulative[np.cumsum(sizes) - 1]])

    pace = rng.normal(0, 0.35, n_aisles)
    return Catalogue(
        departments=departments,
        aisles=aisles,
        names=list(names),
        product_ids=1 + rng.permutation(n_products),
        aisle=aisle,
        aisle_department=np.array([departments.index(department["name"]) for department in department_of]),
        cumulative=cumulative,
        edges=edges,
        aisle_pace=np.exp(pace - np.average(pace, weights=np.diff(edges))),
    )


def _names(
    rng: np.random.Generator, words: dict[str, Any], department: dict[str, Any], kinds: list[str], count: int
) -> Iterator[str]:
    """Endless names of an aisle's products, some of them equal: the plain kinds, then embellished ones.

    Brand, adjective, variant and size each are there at times; the first words of a list are the most used.
    """

    def at_times(choices: list[str], chance: float) -> list[str]:
        chosen = (len(choices) * rng.random(count) ** 2).astype(np.int64)
        return [choices[index] if used else "" for index, used in zip(chosen, rng.random(count) < chance, strict=True)]

    yield from kinds
    while True:
        brands, adjectives = at_times(words["brands"], 0.6), at_times(words["adjectives"], 0.45)
        variants, drawn = at_times(department["variants"], 0.55), rng.choice(kinds, count).tolist()
        sizes, is_inverted = at_times(department["sizes"], 0.3), rng.random(count) < 0.06
        for *parts, inverted in zip(brands, adjectives, variants, drawn, sizes, is_inverted, strict=True):
            _, adjective, variant, kind, _ = parts
            if inverted and (adjective or variant):
                yield f"{kind}, {' '.join(filter(None, (adjective, variant)))}"  # as in "Pancake Mix, Organic"
            else:
                yield " ".join(filter(None, parts))
