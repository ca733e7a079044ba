"""Settings of the feedback commands; light enough for ``--help``."""

from dataclasses import dataclass
from typing import Literal

from lit_rec.core.errors import SettingError

DEFAULT_DB = "data/feedback.db"

RequestMode = Literal["user_id", "context", "history"]


@dataclass(frozen=True)
class SimulateSettings:
    """Who asks, and what they do with the answers.

    Args:
        n_requests: requests sent; users take turns, in a seeded order.
        split: whose held-out orders: val, test, or all of them.
        request_mode: what a request holds: the user's user_id, which a bundle does not know; the context string; or
            the history, order by order.
        top_k: products asked for.
        click_model: 'random' clicks and buys with the three rates below, wherever a product stands. 'position_based':
            a product is examined with a chance that falls with its position, and clicked, if it is examined, with a
            chance that depends on whether the user really bought it.
        click_rate: chance that a product is clicked; with position_based, of one that was not bought and is examined.
        atc_rate: chance that a product that was clicked goes into the cart.
        purchase_rate: chance that a product in the cart is purchased.
        relevant_click_rate: with position_based, chance that a product that was bought is clicked if it is examined.
        irrelevant_factor: with position_based, cart and purchase rates of products that were not bought are this many
            times those above.
        position_decay: with position_based, the product at position k is examined with the chance k to the power of
            minus this; 0 for all.
        concurrency: requests under way at once. The outcome does not depend on it.
        timeout: seconds that an answer may take.
        seed: another seed gives other users who act otherwise.
    """

    n_requests: int = 20
    split: Literal["val", "test", "all"] = "all"
    request_mode: RequestMode = "user_id"
    top_k: int = 10
    click_model: Literal["random", "position_based"] = "random"
    click_rate: float = 0.15
    atc_rate: float = 0.4
    purchase_rate: float = 0.6
    relevant_click_rate: float = 0.6
    irrelevant_factor: float = 0.25
    position_decay: float = 1.0
    concurrency: int = 4
    timeout: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("click_rate", "atc_rate", "purchase_rate", "relevant_click_rate", "irrelevant_factor"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise SettingError(f"{name} must be a chance between 0 and 1", f"got {value}")
        for name in ("n_requests", "top_k", "concurrency"):
            if (value := getattr(self, name)) < 1:
                raise SettingError(f"{name} must be at least 1", f"got {value}")
        if self.position_decay < 0 or self.timeout <= 0:
            found = f"got {self.position_decay} and {self.timeout}"
            raise SettingError("position_decay must be at least 0, and timeout above 0", found)


@dataclass(frozen=True)
class PairSettings:
    """How feedback becomes training pairs.

    Args:
        since: only what was shown from this date or moment on, in UTC unless it names a time zone.
        until: only what was shown before this date or moment.
        include_page: learn from what was done on the service's own page too, by whoever tried it.
        max_weight: a pair's inverse propensity is cut here: rare clicks far down would else weigh more than all others.
    """

    since: str | None = None
    until: str | None = None
    include_page: bool = False
    max_weight: float = 10.0

    def __post_init__(self) -> None:
        if self.max_weight < 1:
            raise SettingError("max_weight must be at least 1", f"got {self.max_weight}")
