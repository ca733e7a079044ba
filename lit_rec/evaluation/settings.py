"""What ``evaluate`` and ``compare`` can be asked; light, so that help comes at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from lit_rec.core.bounds import CheckedSettings, PositiveInt
from lit_rec.core.errors import SettingError
from lit_rec.core.schema import Split

EvaluatedSplit = Literal["test", "val", "all"]
TunedMetric = Literal["ndcg@10", "recall@10", "explore_filtered_recall@100"]
ALL_BASELINES = "all"


@dataclass(frozen=True)
class EvaluationSettings(CheckedSettings):
    """What is measured, on which queries, and where the results go.

    Args:
        processed_dir: a processed folder, or one that holds some (the newest is taken): the queries and the catalogue;
            by default the one that the models were trained on, or without such models the newest in processed.
        model_dir: model folders or hub ids, any number. A folder with a ranker gives two rows: the ranker, and its
            encoder only.
        baselines: names, any number, or 'all'; they are fitted here.
        baseline: the method that all others are compared with; by default the one of the baselines with the best
            ndcg@10, or the first method where there are none.
        split: 'test' chose nothing; 'val' chose checkpoints and hyper-parameters; 'all' is both.
        train_dir: another processed folder, of other users, that baselines are fitted and tuned on. By default the
            training users of processed_dir; where it has none (eval_frac 1), the past orders of its own users.
        tune: choose the hyper-parameters of baselines on the validation queries; false, or without such queries: the
            published ones.
        tune_by: the metric that chooses. The best of counting what is bought together by ndcg@10 is far from its best
            at finding new products.
        base_model: add the untrained base model.
        json: the report goes here; methods -> name -> metric -> value.
        markdown: the report as tables to be read.
        per_query: a parquet file with every metric of every query, from which folds can be pooled.
        plots: a folder for the plots; by default beside the JSON file, named like it.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
        chunk_size: queries scored at a time; the memory for scores grows with it.
        device: cuda, mps or cpu; by default INFERENCE_DEVICE, or the best there is.
    """

    processed_dir: Path | None = None
    model_dir: list[str] = field(default_factory=list)
    baselines: list[str] = field(default_factory=list)
    baseline: str | None = None
    split: EvaluatedSplit = "test"
    train_dir: Path | None = None
    tune: bool = True
    tune_by: TunedMetric = "ndcg@10"
    base_model: bool = False
    json: Path | None = None
    markdown: Path | None = None
    per_query: Path | None = None
    plots: Path | None = None
    n_resamples: PositiveInt = 10_000
    seed: int = 0
    chunk_size: PositiveInt = 64
    device: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.model_dir or self.baselines or self.base_model):
            raise SettingError(
                "Nothing to evaluate",
                "neither a model nor a baseline is named",
                "Pass --model_dir DIR..., --baselines NAME... or --baselines all",
            )

    @property
    def plots_dir(self) -> Path | None:
        """Where plots go; None for none."""
        return self.plots or (self.json.with_suffix("") if self.json else None)


@dataclass(frozen=True)
class ComparisonSettings(CheckedSettings):
    """Which models are compared, on which queries, and where the results go.

    Args:
        model_dir: the trained model, a folder or a hub id; by default the newest models/*/final.
        base_model: the untrained one; by default what the model folder was trained from.
        processed_dir: a processed folder, or one that holds some; by default the one that the model was trained on.
        split: whose queries.
        sample_queries: ask this many of them only (seeded), for a quick look; none for all.
        json: the report goes here.
        plots: a folder for metrics.png, pair_cosines.png and singular_values.png.
        device: cuda, mps or cpu; by default INFERENCE_DEVICE, or the best there is.
        n_resamples: of the bootstrap.
        seed: of the sample, the random pairs and the bootstrap.
    """

    model_dir: str | None = None
    base_model: str | None = None
    processed_dir: Path | None = None
    split: Split = Split.TEST
    sample_queries: Annotated[int, Ge(2)] | None = None
    json: Path | None = None
    plots: Path | None = None
    device: str | None = None
    n_resamples: PositiveInt = 10_000
    seed: int = 0
