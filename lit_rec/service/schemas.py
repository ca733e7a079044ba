"""What the service is asked and what it answers, as documented at ``/docs``."""

from bisect import bisect_right
from datetime import datetime
from itertools import accumulate
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from lit_rec.data.orders import Order, UserHistory
from lit_rec.service.http_errors import FieldError
from lit_rec.store.events import STORABLE, FeedbackEvent

MAX_CONTEXT = 10_000  # characters
MAX_EVENTS = 500
MAX_FIELDS = 100  # of one object
MAX_LINES = 3_000  # products of a history that are made use of, the newest

TO_COME = ("days_since_prior_order", "order_dow", "order_hour_of_day")

ProductId = Annotated[str, Field(max_length=256), STORABLE]
Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]
Weekday = Annotated[int, Field(ge=0, le=6)]
Hour = Annotated[int, Field(ge=0, le=23)]


class _Request(BaseModel):
    """Base of what callers send: unknown fields are refused, and a large wrong body gets a short answer soon."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: object) -> object:
        if isinstance(value, dict) and len(value) > MAX_FIELDS:  # each unknown one would be an error of its own
            raise ValueError(f"at most {MAX_FIELDS} fields; got {len(value):,}")
        return value


class HistoryOrder(_Request):
    """One order of the past."""

    product_ids: Annotated[list[ProductId], Field(max_length=500, fail_fast=True)] = Field(
        description="In the order they went into the cart; ids that the catalogue does not hold are left out."
    )
    days_since_prior_order: Days | None = Field(None, description="Days since the order before; null for a first one.")
    order_dow: Weekday | None = Field(None, description="Weekday, 0 to 6; null where not known.")
    order_hour_of_day: Hour | None = Field(None, description="Hour, 0 to 23; null where not known.")


class RecommendRequest(_Request):
    """Whom to recommend for: one of `user_context`, `history`, or a `user_id` that the service knows; or a `query`.

    Beside one of the other two, `user_id` says who asks: for the split of an experiment and for the store of what was
    served. When the order to come is goes with any of the three; a model without a ranker makes no use of it.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_context": "[+7d w4h14] Organic Milk, Whole Wheat Bread.", "top_k": 10},
                {
                    "history": [
                        {"product_ids": ["24852", "13176"], "order_dow": 2, "order_hour_of_day": 8},
                        {"product_ids": ["24852"], "days_since_prior_order": 7, "order_dow": 2},
                    ],
                    "exclude_product_ids": ["13176"],
                    "explain": True,
                },
            ]
        },
    )

    user_context: Annotated[str, Field(max_length=MAX_CONTEXT), STORABLE] | None = Field(
        None, description="Past orders as one line, or any text."
    )
    query: Annotated[str, Field(max_length=MAX_CONTEXT), STORABLE] | None = Field(
        None, description="Words to search for, alone or before the context."
    )
    history: Annotated[list[HistoryOrder], Field(max_length=1_000, fail_fast=True)] | None = Field(
        None,
        description=f"Past orders, oldest first; none for a new user. Of very long ones the newest orders count, "
        f"those of the newest {MAX_LINES:,} products.",
    )
    user_id: Annotated[str, Field(max_length=256), STORABLE] | None = Field(None, description="Who asks.")
    days_since_prior_order: Days | None = Field(None, description="Days from the newest order to the one to come.")
    order_dow: Weekday | None = Field(None, description="Weekday of the order to come.")
    order_hour_of_day: Hour | None = Field(None, description="Hour of the order to come.")
    top_k: int = Field(10, ge=1, le=100, description="How many products.")
    exclude_product_ids: Annotated[list[ProductId], Field(max_length=1_000, fail_fast=True)] = Field(
        default_factory=list, description="Never recommend these."
    )
    explain: bool = Field(False, description="Say why each product is recommended.")
    _lines_left_out: int = PrivateAttr(0)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.history is not None and self.context is not None:
            raise ValueError("history and user_context both say what was bought: send one of them")
        if self.history is not None and self.words is not None:
            raise ValueError("a query goes with a user_context or a user_id, or alone: leave the history out")
        if self.words is not None and self.to_come:
            raise ValueError(f"a query is answered by its words alone: leave out {', '.join(self.to_come)}")
        return self

    @model_validator(mode="after")
    def _newest_lines(self) -> Self:
        """Before anything is made of them: a hundred thousand lines would hold up everybody else."""
        if self.history:
            ends = list(accumulate(len(order.product_ids) for order in reversed(self.history)))
            n_kept = bisect_right(ends, MAX_LINES)
            self._lines_left_out = ends[-1] - ends[n_kept - 1]
            self.history = self.history[-n_kept:]
        return self

    @property
    def lines_left_out(self) -> int:
        """Products of the history that do not count, for there are too many."""
        return self._lines_left_out

    @property
    def to_come(self) -> dict[str, float]:
        """What is said of the time of the order to come."""
        return self.model_dump(include=set(TO_COME), exclude_none=True)

    @property
    def context(self) -> str | None:
        """The context, if there is a word in it."""
        return self.user_context if self.user_context and self.user_context.strip() else None

    @property
    def says_what_was_bought(self) -> bool:
        """Whether the request itself has a history or a context, so that no stored one is looked up."""
        return self.history is not None or self.context is not None

    @property
    def words(self) -> str | None:
        """The query, if there is a word in it."""
        return self.query if self.query and self.query.strip() else None

    def user_history(self) -> UserHistory | None:
        """The history as the recommender takes it, without the order to come."""
        if self.history is None:
            return None
        orders = [Order(**order.model_dump()) for order in self.history]
        return UserHistory(orders)


class RecommendedProduct(BaseModel):
    """One product of an answer."""

    product_id: str
    score: float = Field(description="Comparable within one answer; of a text model the cosine, -1 to 1.")
    product_text: str
    rank: int = Field(description="From 1.")
    reason: str | None = Field(None, description="With `explain`: why, in a few words.")


class Stats(BaseModel):
    """Times and scores of an answer."""

    total_latency_ms: float
    query_embedding_time_ms: float = Field(description="In the text encoder; 0 where history alone was enough.")
    similarity_compute_time_ms: float = Field(description="Ranking the catalogue.")
    num_recommendations: int
    top_score: float = Field(description="0 where nothing is recommended.")
    avg_score: float
    timestamp: datetime
    history_products_left_out: int | None = Field(
        None, description="Of a very long history: how many of the oldest did not count."
    )
    unknown_products: int | None = Field(
        None, description="How many products of the history did not count, for the catalogue does not hold them."
    )
    unknown_product_ids: list[str] | None = Field(None, description="They, or some of them.")


class RecommendResponse(BaseModel):
    """The best products for a user."""

    model_config = ConfigDict(protected_namespaces=())

    request_id: str = Field(description="Of this answer alone, whatever `X-Request-ID` was sent: name it in feedback.")
    model_version: str
    arm: str = Field(description="Which of the service's models; `default` where there is one.")
    recommendations: list[RecommendedProduct]
    stats: Stats


class FeedbackBatch(BaseModel):
    """Several events."""

    events: Annotated[list[FeedbackEvent], Field(min_length=1, max_length=MAX_EVENTS)]


class EventResult(BaseModel):
    """What became of one event of a batch."""

    index: int = Field(description="Its place in the batch, from 0.")
    status: Literal["accepted", "duplicate", "rejected"]
    event_id: str | None = None
    fields: list[FieldError] | None = Field(default=None, description="Why it was rejected.")


class FeedbackResponse(BaseModel):
    """What became of the events.

    `partial` (status 207) says that some were rejected; `results` then has every one of them.
    """

    status: Literal["accepted", "partial"]
    count: int = Field(description="Events that are in the store now, those that were there before included.")
    duplicates: int = Field(0, description="How many of them were there before.")
    unattributed: int | None = Field(
        0, description="How many of them name a product that was not served; left out where that cannot be said."
    )
    results: list[EventResult] | None = None


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The models are loaded."""

    model_config = ConfigDict(protected_namespaces=())

    status: Literal["ready"] = "ready"
    models: dict[str, str] = Field(description="Arm to model version.")
    degraded: list[Literal["feedback_store"]] = Field(description="What does not answer; the rest does its work.")
