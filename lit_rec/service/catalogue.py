"""The catalogue as a person types into it: products whose name, aisle or department hold the words."""

import heapq
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from lit_rec.data.contexts import product_aisle, product_name

_DEPARTMENT_INFIX = ". Department: "


@dataclass(frozen=True)
class Product:
    """A product of the catalogue: its text taken apart; also how it is sent."""

    product_id: str
    name: Annotated[str, Field(description="Its whole name; the whole text where that is of another form.")]
    aisle: Annotated[str, Field(description="Empty where the catalogue names none.")]
    department: Annotated[str, Field(description="Empty where the catalogue names none.")]


def product_of(product_id: str, text: str) -> Product:
    """Take a product text apart.

    >>> product_of("7", "Product: 2.5% Milk. Aisle: milk. Department: dairy eggs.")
    Product(product_id='7', name='2.5% Milk', aisle='milk', department='dairy eggs')
    """
    aisle, _, department = product_aisle(text).partition(_DEPARTMENT_INFIX)
    return Product(product_id, product_name(text), aisle, department.removesuffix("."))


class Catalogue:
    """Searches product texts.

    Args:
        corpus: product id to text.
        popularity: a number for each product, in the corpus's order: of products that fit equally well the greatest
            comes first. Without it, the shortest name comes first.
    """

    def __init__(self, corpus: Mapping[str, str], popularity: Sequence[float] = ()) -> None:
        self.corpus = corpus
        self._popularity = popularity or [0.0] * len(corpus)
        self._ids = list(corpus)
        products = [product_of(product_id, text) for product_id, text in corpus.items()]
        self._names = [_folded(product.name) for product in products]
        self._wheres = [_folded(f"{product.aisle} {product.department}") for product in products]

    def __getitem__(self, product_id: str) -> Product:
        """The product of an id; one that the catalogue does not hold is named by its id."""
        text = self.corpus.get(product_id)
        return Product(product_id, product_id, "", "") if text is None else product_of(product_id, text)

    def search(self, text: str, limit: int = 10) -> list[Product]:
        """The products that hold every word of a text, in their name or in aisle and department.

        First the names that begin with the text, then those with a word that begins with each of the words, then
        those that hold the words anywhere, then those that only the aisle or the department speaks for.

        Args:
            text: as typed; case, accents and punctuation do not count.
            limit: how many at most.
        """
        words = _folded(text).split()
        if not words:
            return []
        best = heapq.nsmallest(limit, self._found(words))
        return [self[self._ids[row]] for *_, row in best]

    def _found(self, words: Sequence[str]) -> Iterator[tuple[int, float, int, int]]:
        rows: Sequence[int] = range(len(self._names))
        for word in words:  # one plain pass a word: a catalogue of 50 k is gone through while a key is pressed
            rows = [row for row in rows if word in self._names[row] or word in self._wheres[row]]
        beginning, beginnings = f" {' '.join(words)}", [f" {word}" for word in words]
        for row in rows:
            name = self._names[row]
            if name.startswith(beginning):
                rank = 0
            elif all(word in name for word in beginnings):
                rank = 1
            else:
                rank = 2 if all(word in name for word in words) else 3
            yield rank, -self._popularity[row], len(name), row


def _folded(text: str) -> str:
    """Lower case without accents, each word after one space, the first one too.

    >>> _folded("Crème-Fraîche, 2.5% Fat")
    ' creme fraiche 2 5 fat'
    """
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(letter for letter in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(letter))
    words = "".join(letter if letter.isalnum() else " " for letter in plain).split()
    return "".join(f" {word}" for word in words)
