"""How the ranker is trained; light, so that help comes at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Lt

from lit_rec.core.bounds import CheckedSettings, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class RankerSettings(CheckedSettings):
    """How the repeat-explore ranker is trained.

    Args:
        auxiliary_orders: a parquet file of single orders of other users (order_id, product_id, add_to_cart_order,
            reordered), for the statistics of products; none for the training users' orders alone.
        targets_per_user: the newest orders of each user that are learned from, each with only the orders
            before it as its history; 0 for all.
        max_targets: at most so many of them (seeded); each costs about 50 kB of memory.
        hidden_size: width of the networks' two layers.
        ensemble_size: networks whose scores are averaged.
        dropout: in training.
        batch_size: targets a step.
        max_epochs: passes over the targets.
        learning_rate: peak of the schedule.
        weight_decay: of AdamW.
        seed: of weights and order; none for that of fit's --seed_everything, and for 42 without one.
    """

    auxiliary_orders: Path | None = None
    targets_per_user: NonNegativeInt = 8
    max_targets: PositiveInt = 40_000
    hidden_size: PositiveInt = 64
    ensemble_size: PositiveInt = 4
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.2
    batch_size: PositiveInt = 32
    max_epochs: PositiveInt = 5
    learning_rate: PositiveFloat = 3e-3
    weight_decay: NonNegativeFloat = 0.01
    seed: int | None = None

    @property
    def seed_used(self) -> int:
        """``seed``, or 42."""
        return 42 if self.seed is None else self.seed
