"""How the ranker is trained; light, so that help comes at once."""

from dataclasses import dataclass
from pathlib import Path

from lit_rec.core.errors import SettingError


@dataclass(frozen=True)
class RankerSettings:
    """How the repeat-explore ranker is trained.

    Args:
        auxiliary_orders: a parquet file of single orders of further users (order_id, product_id, add_to_cart_order,
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
    targets_per_user: int = 8
    max_targets: int = 40_000
    hidden_size: int = 64
    ensemble_size: int = 4
    dropout: float = 0.2
    batch_size: int = 32
    max_epochs: int = 5
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_targets", "hidden_size", "ensemble_size", "batch_size", "max_epochs"):
            if (found := getattr(self, name)) < 1:
                raise SettingError(f"{name} must be at least 1", f"got {found}")
        if self.targets_per_user < 0:
            raise SettingError("targets_per_user must be at least 0", f"got {self.targets_per_user}")
        if not 0 <= self.dropout < 1:
            raise SettingError("dropout must be at least 0 and below 1", f"got {self.dropout}")

    @property
    def seed_used(self) -> int:
        """``seed``, or 42."""
        return 42 if self.seed is None else self.seed
