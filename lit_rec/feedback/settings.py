"""Settings of the feedback commands; light enough for ``--help``."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from annotated_types import Ge

from lit_rec.core.bounds import CheckedSettings, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share
from lit_rec.core.errors import SettingError

DEFAULT_DB = "data/feedback.db"

RequestMode = Literal["user_id", "context", "history"]


@dataclass(frozen=True)
class SimulateSettings(CheckedSettings):
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

    n_requests: PositiveInt = 20
    split: Literal["val", "test", "all"] = "all"
    request_mode: RequestMode = "user_id"
    top_k: PositiveInt = 10
    click_model: Literal["random", "position_based"] = "random"
    click_rate: Share = 0.15
    atc_rate: Share = 0.4
    purchase_rate: Share = 0.6
    relevant_click_rate: Share = 0.6
    irrelevant_factor: Share = 0.25
    position_decay: NonNegativeFloat = 1.0
    concurrency: PositiveInt = 4
    timeout: PositiveFloat = 60.0
    seed: int = 0


@dataclass(frozen=True)
class Selection(CheckedSettings):
    """Which feedback is read.

    Args:
        since: only what was shown from this date or moment on, in UTC unless it names a time zone, whatever came of it
            later.
        until: only what was shown before this date or moment.
        include_page: with what was done on the service's own page, by whoever tried it.

    Raises:
        SettingError: a moment is none, or there is nothing between the two.
    """

    since: str | None = None
    until: str | None = None
    include_page: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.begin and self.end and self.begin >= self.end:
            raise SettingError(
                "--until must be later than --since",
                f"got {self.since} and {self.until}",
                "A day ends where the next begins",
            )

    @property
    def begin(self) -> datetime | None:
        """The moment of ``since``, in UTC."""
        return _moment(self.since)

    @property
    def end(self) -> datetime | None:
        """The moment of ``until``, in UTC."""
        return _moment(self.until)


@dataclass(frozen=True)
class ReportSettings(Selection):
    """What a report is about.

    Args:
        show_funnel_sample: requests whose funnel is shown, deepest first.
        seed: of the bootstrap of differences between arms.
    """

    show_funnel_sample: NonNegativeInt = 3
    seed: int = 0


@dataclass(frozen=True)
class PairSettings(Selection):
    """How feedback becomes training pairs.

    Args:
        max_weight: a pair's inverse propensity is cut here: rare clicks far down would else weigh more than all others.
    """

    max_weight: Annotated[float, Ge(1)] = 10.0


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SettingError(
            "A moment must be a date or a time in ISO 8601", f"got {text!r}", "Write 2026-01-31 or 2026-01-31T10:00Z"
        ) from error
