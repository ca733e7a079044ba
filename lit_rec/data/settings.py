"""What ``prepare`` can be asked for, and the folder name that says it."""

from dataclasses import dataclass
from typing import Literal

from lit_rec.core.errors import SettingError
from lit_rec.data.contexts import Truncate

SourceName = Literal["instacart", "complete_journey", "synthetic"]
Targets = Literal["last", "rolling"]


@dataclass(frozen=True)
class PrepareSettings:
    """How pairs and queries are made from orders.

    Args:
        max_prior_orders: how many of a user's newest orders a context may show.
        max_product_names: how many product names a context may show.
        truncate: 'keep_recent' spends the names on the newest order first; 'keep_oldest' on the oldest first, as the
            reference project does.
        next_segment: end training contexts in a 'Next: +7d w4h14' segment: gap, weekday and hour of the order to
            be predicted, never its products.
        eval_serve_time: leave that segment out of the evaluation queries, as the reference does. With
            next_segment, set it to false so that training and evaluation are alike.
        targets: 'last': one training target a user, the last order. 'rolling': up to rolling_targets orders before
            it become targets too, each with only earlier orders as its context; users without a labelled last
            order then count as well.
        rolling_targets: how many past orders a user become further training targets; 0 for all.
        sample_frac: train on this share of the target orders only (whole orders, seeded); none for all.
        eval_frac: share of the users held out, 0 to 1, by a seeded hash of the user. 1 writes evaluation artefacts
            only, to score a finished model on users it never saw.
        val_frac: share of the held-out users that chooses the checkpoint; the others are the test part. With
            eval_frac 1 there is nothing to choose and all are test.
        n_folds: cross-validation by user: users fall into so many parts of about one size, by a seeded hash; one of
            them is the test part, val_frac of the next one chooses the checkpoint, and all others train. eval_frac
            then plays no part. 0 for one split by eval_frac.
        fold: which of the n_folds parts is the test part, 0 to n_folds - 1. One run for each gives every user a
            turn; 0 without folds.
        max_target_orders: at most this many users with a labelled last order take part (seeded); none for all.
        seed: seed of every choice above.
    """

    max_prior_orders: int = 5
    max_product_names: int = 20
    truncate: Truncate = "keep_recent"
    next_segment: bool = False
    eval_serve_time: bool = True
    targets: Targets = "last"
    rolling_targets: int = 4
    sample_frac: float | None = None
    eval_frac: float = 0.1
    val_frac: float = 0.5
    n_folds: int = 0
    fold: int = 0
    max_target_orders: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        for name, least in (("max_prior_orders", 1), ("max_product_names", 1), ("rolling_targets", 0)):
            if (value := getattr(self, name)) < least:
                raise SettingError(f"{name} must be at least {least}", f"got {value}")
        for name in ("eval_frac", "val_frac"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise SettingError(f"{name} must be a share between 0 and 1", f"got {share}")
        self._check_folds()
        if self.sample_frac is not None and not 0 < self.sample_frac <= 1:
            raise SettingError("sample_frac must be above 0 and at most 1", f"got {self.sample_frac}")
        if self.max_target_orders is not None and self.max_target_orders < 1:
            raise SettingError("max_target_orders must be at least 1", f"got {self.max_target_orders}")

    def _check_folds(self) -> None:
        if self.n_folds < 0 or self.n_folds == 1:
            raise SettingError("n_folds must be 0 or at least 2", f"got {self.n_folds}")
        if not 0 <= self.fold < max(self.n_folds, 1):
            do = f"Pass a --fold of 0 to {self.n_folds - 1}" if self.n_folds else "Pass --n_folds too, at least 2"
            raise SettingError("fold must be one of n_folds, counted from 0", f"got {self.fold} of {self.n_folds}", do)
        if self.n_folds == 2 and self.val_frac == 1:
            raise SettingError("val_frac must be below 1 with n_folds 2", "nobody is left to train", "Use more folds")

    @property
    def trains_nothing(self) -> bool:
        """Whether all users are held out, so that there is nothing to train and nothing to choose."""
        return self.eval_frac == 1 and not self.n_folds

    def folder_name(self, source: SourceName) -> str:
        """The reference's name where the reference has the setting; what differs from its defaults is added.

        >>> PrepareSettings().folder_name("instacart")
        'p5_mp20_ef0.1'
        >>> PrepareSettings(targets="rolling", truncate="keep_oldest").folder_name("complete_journey")
        'complete_journey_p5_mp20_ef0.1_oldest_roll4'
        """
        default = PrepareSettings()
        parts: list[str] = [] if source == "instacart" else [source]
        held_out = f"fold{self.fold}of{self.n_folds}" if self.n_folds else f"ef{float(self.eval_frac)}"
        parts += [f"p{self.max_prior_orders}", f"mp{self.max_product_names}", held_out]
        parts += ["no_serve"] if not self.eval_serve_time else []
        parts += [f"sf{float(self.sample_frac)}"] if self.sample_frac is not None else []
        parts += [f"mt{self.max_target_orders}"] if self.max_target_orders is not None else []
        parts += ["oldest"] if self.truncate == "keep_oldest" else []
        parts += ["next"] if self.next_segment else []
        parts += [f"roll{self.rolling_targets or 'all'}"] if self.targets == "rolling" else []
        parts += [f"vf{float(self.val_frac)}"] if self.val_frac != default.val_frac else []
        parts += [f"s{self.seed}"] if self.seed != default.seed else []
        return "_".join(parts)
