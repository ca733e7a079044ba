"""The catalogue of the made-up shop: names that share words within an aisle, and a power law of popularity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lit_rec.data.sources.synthetic_words import ADJECTIVES, BRANDS, Department, vocabulary

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_PRODUCTS_AN_AISLE = 8  # at least, on average: small catalogues have fewer aisles


@dataclass(frozen=True)
class Catalogue:
    """Products in slots sorted by aisle, so that a draw within an aisle is a draw from one interval.

    Args:
        departments: names; the id of each is its place, from 1.
        aisles: names; the id of each is its place, from 1.
        names: product name by slot.
        product_ids: product id by slot.
        slot_aisle: place of the aisle by slot.
        aisle_department: place of the department by place of the aisle.
        cumulative: share of popularity of all slots up to and with this one.
        edges: cumulative popularity where each aisle begins, and 1.
        aisle_pace: factor on the purchase intervals of an aisle's products; 1 on (geometric) average of sales.
    """

    departments: list[str]
    aisles: list[str]
    names: list[str]
    product_ids: Ints
    slot_aisle: Ints
    aisle_department: Ints
    cumulative: Floats
    edges: Floats
    aisle_pace: Floats


def make_catalogue(n_products: int, stream: Sequence[int]) -> Catalogue:
    """Draw names, aisles and popularity of the products.

    Args:
        n_products: size of the catalogue, at least 24.
        stream: seed of a random stream of its own.
    """
    rng = np.random.default_rng(stream)
    places = _chosen_aisles(n_products // _PRODUCTS_AN_AISLE)
    departments = list(dict.fromkeys(department.name for department, _ in places))
    n_aisles = len(places)
    shares = rng.lognormal(0, 0.65, n_aisles)
    sizes = 1 + rng.multinomial(n_products - n_aisles, shares / shares.sum())
    names: dict[str, None] = {}
    for (department, aisle), size in zip(places, sizes.tolist(), strict=True):
        _add_names(rng, department, department.aisles[aisle], size, names)
    slot_aisle = np.repeat(np.arange(n_aisles), sizes)
    pulls = np.array([department.pull for department, _ in places]) + rng.normal(0, 0.5, n_aisles)
    n_kinds = np.array([len(department.aisles[aisle]) for department, aisle in places])
    place_in_aisle = np.arange(n_products) - (np.cumsum(sizes) - sizes)[slot_aisle]
    plain = place_in_aisle < n_kinds[slot_aisle]  # "Bananas" leads, as there
    cumulative = np.cumsum(_popularity(pulls[slot_aisle] + 1.5 * plain + rng.normal(0, 1, n_products)))
    cumulative /= cumulative[-1]
    edges = np.concatenate([[0.0], cumulative[np.cumsum(sizes) - 1]])
    pace = rng.normal(0, 0.35, n_aisles)
    return Catalogue(
        departments=departments,
        aisles=[aisle for _, aisle in places],
        names=list(names),
        product_ids=1 + rng.permutation(n_products),
        slot_aisle=slot_aisle,
        aisle_department=np.array([departments.index(department.name) for department, _ in places]),
        cumulative=cumulative,
        edges=edges,
        aisle_pace=np.exp(pace - np.average(pace, weights=np.diff(edges))),
    )


def _chosen_aisles(at_most: int) -> list[tuple[Department, str]]:
    """The aisles of a catalogue: the first of every department, then the second of every one, and so on."""
    ranked = [(rank, department, aisle) for department in vocabulary() for rank, aisle in enumerate(department.aisles)]
    ranked.sort(key=lambda place: place[0])
    return [(department, aisle) for _, department, aisle in ranked[:at_most]]


def _add_names(
    rng: np.random.Generator, department: Department, kinds: tuple[str, ...], count: int, names: dict[str, None]
) -> None:
    """Add ``count`` names that are not there yet: the aisle's plain kinds first, then embellished ones."""
    wanted = len(names) + count
    fresh = list(kinds)
    while True:
        for name in fresh:
            if len(names) == wanted:
                return
            names.setdefault(name)
        fresh = _embellished(rng, department, kinds, count)


def _embellished(rng: np.random.Generator, department: Department, kinds: tuple[str, ...], count: int) -> list[str]:
    """Draw ``count`` names, some of them equal, with brand, adjective, variant and size each at times."""
    parts = zip(
        _words_at_times(rng, BRANDS, 0.6, count),
        _words_at_times(rng, ADJECTIVES, 0.45, count),
        _words_at_times(rng, department.variants, 0.55, count),
        rng.choice(kinds, count).tolist(),
        _words_at_times(rng, department.sizes, 0.3, count),
        (rng.random(count) < 0.06).tolist(),
        strict=True,
    )
    return [
        f"{kind}, {' '.join(filter(None, (adjective, variant)))}"  # as in "Pancake Mix, Organic"
        if inverted and (adjective or variant)
        else " ".join(filter(None, (brand, adjective, variant, kind, size)))
        for brand, adjective, variant, kind, size, inverted in parts
    ]


def _words_at_times(rng: np.random.Generator, words: tuple[str, ...], chance: float, count: int) -> list[str]:
    """Draw a word with the given chance, else an empty one; the first words of the list are the most used."""
    places = (len(words) * rng.random(count) ** 2).astype(np.int64)
    return [words[place] if used else "" for place, used in zip(places, rng.random(count) < chance, strict=True)]


def _popularity(score: Floats) -> Floats:
    """Weights by rank of the score: a power law, steeper beyond a bend, fitted to Kaggle's counts by product."""
    rank = np.empty(score.size)
    rank[np.argsort(-score, kind="stable")] = np.arange(1, score.size + 1)
    weights: Floats = rank**-0.6 * (1 + 25 * rank / score.size) ** -1.1
    return weights
