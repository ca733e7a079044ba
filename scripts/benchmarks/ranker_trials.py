"""What the ranker's score of bought products owes to each of its parts, and what was tried beside them.

Each trial changes one thing of the shipped ranker, is trained on the training users of a fold and ranks the products
that the held-out users (test and validation) have bought before; new products are left out, in training (which
clips gradients of both parts together when shipped) and in the ranking, from all trials alike. NDCG@10 counts all
products of the order, bought before or not. Differences are paired over users.

    python scripts/benchmarks/ranker_trials.py --data_dir ../shared/data/instacart-sample \
        --auxiliary_orders ../shared/data/instacart-baskets/order_products.parquet
    python scripts/benchmarks/ranker_trials.py --source complete_journey --folds '[0]' --trials '[shipped, trees]'

Writes results/ranker_trials_<source>.json and .md, of all trials that have been measured on all folds. What an earlier
run on the same data has measured is not measured again (delete --work_dir to begin anew); two processes may share out
the folds, and the last one to end pools them.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_record import REPOSITORY, save
from jsonargparse import auto_cli
from lightning.pytorch import seed_everything
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL, load_sentence_transformer
from lit_rec.baselines.boosted_trees import BoostedTrees
from lit_rec.baselines.recency_frequency import RecencyFrequency
from lit_rec.baselines.tifu_knn import TifuKnn
from lit_rec.core.files import read_json, write_json
from lit_rec.core.quiet import quiet_lightning
from lit_rec.data.dataset import EvaluationQueries, padded
from lit_rec.data.histories import PurchaseHistories, Queries
from lit_rec.data.history_files import read_eval_histories, read_training_histories
from lit_rec.data.prepare import prepare
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.settings import PrepareSettings, RawData, SourceName
from lit_rec.metrics.functional import membership, ndcg
from lit_rec.metrics.intervals import paired_difference
from lit_rec.ranking.affinity import AFFINITY_FEATURES, Affinity
from lit_rec.ranking.auxiliary_orders import AuxiliaryOrders, read_auxiliary_orders
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.dataset import RankerBatch, RankingDataset, target_chunks
from lit_rec.ranking.feature_columns import Feature
from lit_rec.ranking.features import REPEAT_FEATURES, repeat_candidates
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.module import RankerModule, listwise_loss
from lit_rec.ranking.network import Ensemble, RankerNetwork
from lit_rec.ranking.order_matrix import OrderMatrix
from lit_rec.ranking.product_statistics import ProductStatistics, aisles_of
from lit_rec.ranking.settings import RankerSettings
from lit_rec.ranking.training import chosen_targets, train

Floats = NDArray[np.float32]

SHIPPED = "shipped"
_AT_A_TIME = 64
_N_GAPS = 12
_REQUEST_TIME = ("days_since_prior", "dow", "hour", "same_dow_share", "hour_distance")
_SEED = RankerSettings().seed_used  # of the groups of users, in every trial: rows of features have to meet

# T targets, M candidates of their histories, N products, F features


class BoughtOnly(RankerModule):
    """The ranker's training without the part for new products.

    Args:
        network: to be trained.
        settings: how.
        pointwise: weight of a loss that asks of each product alone whether it is bought.
    """

    def __init__(self, network: RankerNetwork, settings: RankerSettings, pointwise: float) -> None:
        super().__init__(network, settings.learning_rate, settings.weight_decay)
        self.pointwise = pointwise

    def training_step(self, batch: RankerBatch, batch_idx: int) -> Tensor:
        """Each member by itself."""
        candidates, n_targets = batch.repeat, len(batch.users)
        loss = torch.zeros(())
        for scores in self.network.repeat(candidates.features):
            loss = loss + listwise_loss(scores, candidates.target, candidates.labels, n_targets)
            if self.pointwise:
                loss = loss + self.pointwise * binary_cross_entropy_with_logits(scores, candidates.labels)
        return loss


@dataclass(frozen=True)
class Fold:
    """What is known of a fold.

    Args:
        folder: prepared.
        auxiliary_orders: single orders of other users; None for none.
    """

    folder: ProcessedFolder
    auxiliary_orders: AuxiliaryOrders | None

    @cached_property
    def training(self) -> PurchaseHistories:
        """Of the users that may be learned from."""
        return read_training_histories(self.folder)

    @cached_property
    def queries(self) -> EvaluationQueries:
        """Of the held-out users."""
        return EvaluationQueries.read(self.folder)

    @cached_property
    def held_out(self) -> PurchaseHistories:
        """Of the held-out users."""
        return read_eval_histories(self.folder, self.queries.query_ids)

    @cached_property
    def texts(self) -> list[str]:
        """N product texts."""
        return list(self.folder.corpus.values())

    @cached_property
    def aisle(self) -> NDArray[np.int32]:
        """``(N,)``."""
        return aisles_of(self.texts)

    @cached_property
    def candidates(self) -> Candidates:
        """What the held-out users have bought."""
        return Candidates.of(self.held_out, len(self.texts))

    def ndcg(self, scores: Floats) -> Floats:
        """``(Q,)``: NDCG@10 of the ranking of each held-out user's own products.

        Args:
            scores: ``(M,)``.
        """
        query, product = self.candidates.query, self.candidates.product
        order = np.lexsort((product, -scores, query))
        begin = np.searchsorted(query, np.arange(len(self.held_out)))
        rank = np.arange(len(order)) - begin[query]
        shown = np.full((len(self.held_out), 10), -1)
        first = rank < 10
        shown[query[first], rank[first]] = product[order][first]
        relevant = padded(self.queries.relevant)
        values: Floats = ndcg(membership(torch.from_numpy(shown), relevant), (relevant >= 0).sum(dim=1), 10).numpy()
        return values


Extra = Callable[[Fold, PurchaseHistories, PurchaseHistories, Candidates], Floats]
"""Further columns ``(M, F)`` of candidates, of: the fold, other users, the histories and their candidates."""


def gaps(fold: Fold, others: PurchaseHistories, histories: PurchaseHistories, candidates: Candidates) -> Floats:
    """Orders between the last 13 purchases of each product, newest first."""
    ago = histories.orders_ago[candidates.line]
    columns = np.full((len(candidates), _N_GAPS), np.nan, dtype=np.float32)
    for number in range(min(_N_GAPS, int(candidates.counts.max(initial=1)) - 1)):
        rows = np.flatnonzero(candidates.counts > number + 1)
        end = candidates.start[1:][rows] - 1 - number
        columns[rows, number] = ago[end - 1] - ago[end]
    return columns


def same_aisle(fold: Fold, others: PurchaseHistories, histories: PurchaseHistories, candidates: Candidates) -> Floats:
    """Purchases of the aisle's other products, weighted by age, and of the newest order alone."""
    orders = OrderMatrix.of(histories, len(fold.aisle))
    aisle = fold.aisle[candidates.product]
    n_aisles = int(fold.aisle.max()) + 1
    columns = []
    for matrix in (orders.decayed(0.9), orders.summed((orders.orders_ago == 1).astype(np.float64))):
        entries = matrix.tocoo()
        total = np.bincount(
            entries.row * n_aisles + fold.aisle[entries.col],
            weights=entries.data,
            minlength=len(histories) * n_aisles,
        )
        own = np.asarray(matrix[candidates.query, candidates.product]).ravel()
        columns.append(total[candidates.query * n_aisles + aisle] - own)
    return np.stack(columns, axis=1).astype(np.float32)


@lru_cache(maxsize=1)  # folds of one source share the catalogue, which takes minutes
def _embeddings(texts: tuple[str, ...]) -> Floats:
    encoder = load_sentence_transformer(DEFAULT_BASE_MODEL, "cpu")
    embeddings: Floats = encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=True)
    return embeddings


def by_text(fold: Fold, others: PurchaseHistories, histories: PurchaseHistories, candidates: Candidates) -> Floats:
    """Purchases of products with similar texts, weighted by age and similarity, and the best similarity."""
    embeddings = _embeddings(tuple(fold.texts))
    decayed = OrderMatrix.of(histories, len(fold.aisle)).decayed(0.9)
    columns = np.zeros((len(candidates), 3), dtype=np.float32)
    begin = np.searchsorted(candidates.query, np.arange(len(histories) + 1))
    for query in range(len(histories)):
        rows = slice(begin[query], begin[query + 1])
        products = candidates.product[rows]
        if len(products) < 2:
            continue
        weight = np.asarray(decayed[[query], products], dtype=np.float32).ravel()
        cosine = (embeddings[products] @ embeddings[products].T).clip(0)
        np.fill_diagonal(cosine, 0)
        columns[rows] = np.stack([cosine**4 @ weight, cosine**16 @ weight, cosine.max(axis=1)], axis=1)
    return columns


class Neighbours:
    """What the 300 most similar users have bought: TIFU-KNN without the user's own vector."""

    def __init__(self) -> None:
        self._fitted: tuple[PurchaseHistories, TifuKnn] | None = None

    def __call__(
        self, fold: Fold, others: PurchaseHistories, histories: PurchaseHistories, candidates: Candidates
    ) -> Floats:
        """``(M, 1)``."""
        if self._fitted is None or self._fitted[0] is not others:
            self._fitted = others, TifuKnn(n_neighbors=300, alpha=0.0).fit(others, fold.texts)
        column = np.empty((len(candidates), 1), dtype=np.float32)
        for begin in range(0, len(histories), _AT_A_TIME):
            some = histories.select(slice(begin, begin + _AT_A_TIME))
            scores = self._fitted[1].scores(Queries([""] * len(some), some))
            rows = (candidates.query >= begin) & (candidates.query < begin + _AT_A_TIME)
            column[rows, 0] = scores[candidates.query[rows] - begin, candidates.product[rows]].clip(0)
        return column


@dataclass(frozen=True)
class Trial:
    """One change.

    Args:
        what: in words.
        settings: that differ from the shipped ones.
        without: features left out.
        extra: features added.
        auxiliary_orders: whether auxiliary orders are counted.
        pointwise: weight of that loss.
        trees: 1 for boosted trees in place of the networks, 0.5 for the mean of the two (of log-odds and scores).
    """

    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    extra: Extra | None = None
    auxiliary_orders: bool = True
    pointwise: float = 0.0
    trees: float = 0.0


_AS_SHIPPED = (
    "as shipped: {ensemble_size} members of width {hidden_size}, dropout {dropout}, {max_epochs} passes, "
    "{targets_per_user} targets a user"
)
TRIALS = {
    SHIPPED: Trial(_AS_SHIPPED.format(**asdict(RankerSettings()))),
    "seed": Trial("another seed of weights and order", {"seed": 7}),
    "no_affinity": Trial(
        "without how well a product goes with the user's others",
        without=tuple(feature.name for feature in AFFINITY_FEATURES),
    ),
    "no_request_time": Trial("without weekday, hour and gap of the order to come as columns", without=_REQUEST_TIME),
    "one_member": Trial("one member", {"ensemble_size": 1}),
    "eight_members": Trial("eight members", {"ensemble_size": 8}),
    "width_128": Trial("width 128", {"hidden_size": 128}),
    "no_dropout": Trial("no dropout", {"dropout": 0.0}),
    "ten_passes": Trial("ten passes", {"max_epochs": 10}),
    "gaps": Trial(f"with the last {_N_GAPS} gaps between purchases of a product", extra=gaps),
    "text": Trial("with purchases of similar products, by text (untrained MiniLM)", extra=by_text),
    "aisle": Trial("with purchases in the same aisle", extra=same_aisle),
    "neighbours": Trial("with the purchases of the 300 most similar users", extra=Neighbours()),
    "pointwise": Trial("with a pointwise loss beside the listwise one", pointwise=1.0),
    "trees": Trial("boosted trees on the ranker's features in place of the networks", trees=1.0),
    "with_trees": Trial("the mean of networks and trees", trees=0.5),
    "two_targets": Trial("2 targets a user", {"targets_per_user": 2}),
    "all_targets": Trial("all past orders as targets", {"targets_per_user": 0}),
    "no_auxiliary_orders": Trial("without auxiliary orders", auxiliary_orders=False),
}
"""By name; those that share features with the shipped ranker come first, for features are kept for the next trial."""


class Bench:
    """Trains and measures trials on one fold; features that trials share are made once.

    Args:
        fold: the data.
    """

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self._made: tuple[object, RankingDataset, Floats] | None = None

    def run(self, trial: Trial) -> Floats:
        """``(Q,)``: NDCG@10."""
        settings = replace(RankerSettings(), **trial.settings)
        dataset, held_out = self._features(trial, settings)
        features = list(REPEAT_FEATURES)
        columns = dataset.repeat.features.numpy()
        if trial.extra:
            targets = chosen_targets(self.fold.training, settings)
            more = [
                trial.extra(self.fold, others, some.histories, Candidates.of(some.histories, len(self.fold.aisle)))
                for others, some in target_chunks(self.fold.training, targets, _SEED)
            ]
            of_held_out = trial.extra(self.fold, self.fold.training, self.fold.held_out, self.fold.candidates)
            held_out = np.concatenate([held_out, of_held_out], axis=1)
            columns = np.concatenate([columns, np.concatenate(more)], axis=1)
            features += [Feature(f"extra_{number}", is_log_scaled=True) for number in range(of_held_out.shape[1])]
        kept = [column for column, feature in enumerate(features) if feature.name not in trial.without]
        if len(kept) < len(features):
            columns, held_out, features = columns[:, kept], held_out[:, kept], [features[column] for column in kept]
        dataset = replace(dataset, repeat=dataset.repeat._replace(features=torch.from_numpy(columns)))
        scores = np.zeros(len(held_out), dtype=np.float32)
        if trial.trees < 1:
            scores += (1 - trial.trees) * self._network_scores(trial, settings, dataset, held_out, features)
        if trial.trees > 0:
            scores += trial.trees * tree_scores(dataset, held_out)
        return self.fold.ndcg(scores)

    def _features(self, trial: Trial, settings: RankerSettings) -> tuple[RankingDataset, Floats]:
        key = trial.auxiliary_orders, settings.targets_per_user
        if self._made is None or self._made[0] != key:
            fold, auxiliary_orders = self.fold, self.fold.auxiliary_orders if trial.auxiliary_orders else None
            self._made = None  # before the next ones are made, for memory
            targets = chosen_targets(fold.training, settings)
            dataset = RankingDataset.of(fold.training, targets, fold.aisle, auxiliary_orders, _SEED)
            statistics = ProductStatistics.fit(fold.training, fold.aisle, auxiliary_orders)
            item_item = ItemItemModel.fit(fold.training, fold.aisle, auxiliary_orders)
            held_out = []
            for begin in range(0, len(fold.held_out), _AT_A_TIME):
                some = fold.held_out.select(slice(begin, begin + _AT_A_TIME))
                held_out.append(repeat_candidates(some, Affinity.of(some, item_item), statistics).features)
            self._made = key, dataset, np.concatenate(held_out)
        return self._made[1], self._made[2]

    @staticmethod
    def _network_scores(
        trial: Trial, settings: RankerSettings, dataset: RankingDataset, held_out: Floats, features: list[Feature]
    ) -> Floats:
        seed_everything(settings.seed_used, verbose=False)
        network = RankerNetwork(settings.hidden_size, settings.ensemble_size, settings.dropout)
        network.repeat = Ensemble(features, settings.hidden_size, settings.ensemble_size, settings.dropout)
        network.repeat.fit_scale(dataset.repeat.features.numpy())
        train(BoughtOnly(network, settings, trial.pointwise), dataset, settings)
        network.eval()
        with torch.inference_mode():
            scores: Floats = network.repeat(torch.from_numpy(held_out)).mean(dim=0).numpy()
        return scores


def tree_scores(dataset: RankingDataset, held_out: Floats) -> Floats:
    """``(M,)``: log-odds by boosted trees, with the settings of the baseline."""
    trees = BoostedTrees().grown(dataset.repeat.features.numpy().copy(), dataset.repeat.labels.numpy() > 0)
    return np.asarray(trees.decision_function(held_out), dtype=np.float32)


def main(
    source: SourceName = "instacart",
    data_dir: Path | None = None,
    auxiliary_orders: Path | None = None,
    n_folds: int = 5,
    folds: list[int] | None = None,
    of_folds: list[int] = [0, 2],  # noqa: B006 - read only
    trials: list[str] | None = None,
    work_dir: Path | None = None,
) -> None:
    """Run the trials, pool the folds, write the table.

    Args:
        source: instacart or complete_journey.
        data_dir: Kaggle-format files; for complete_journey the installed package by default.
        auxiliary_orders: single orders of further users.
        n_folds: parts of the users.
        folds: run only these now; by default those of the table.
        of_folds: folds that the table is of.
        trials: names; by default all. Those measured earlier are in the table too.
        work_dir: everything that is made on the way; by default models/ranker_trials_<source>.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    quiet_lightning()
    work_dir = work_dir or Path("models") / f"ranker_trials_{source}"
    if unknown := [name for name in trials or () if name not in TRIALS]:
        raise SystemExit(f"There is no trial {', '.join(unknown)}; there are {', '.join(TRIALS)}")
    if any((number + 1) % n_folds in of_folds for number in of_folds):
        raise SystemExit(f"Folds of a table must not be neighbours, which share users; got {of_folds}")
    same_data(work_dir, {"data_dir": data_dir, "auxiliary_orders": auxiliary_orders, "n_folds": n_folds})
    names = [name for name in TRIALS if trials is None or name in (SHIPPED, *trials)]
    if auxiliary_orders is None:
        names = [name for name in names if name != "no_auxiliary_orders"]
    for number in of_folds if folds is None else folds:
        missing = [name for name in ("recency_frequency", *names) if not _file(work_dir, number, name).exists()]
        if not missing:
            continue
        fold = prepared(source, data_dir, auxiliary_orders, n_folds, number, work_dir)
        bench = Bench(fold)
        for name in missing:
            begin = time.monotonic()
            values = counted(fold) if name == "recency_frequency" else bench.run(TRIALS[name])
            file = _file(work_dir, number, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".unfinished.npy")
            np.save(unfinished, values)
            unfinished.replace(file)
            print(f"fold {number}  {name:18} {np.nanmean(values):.4f}  {time.monotonic() - begin:.0f} s", flush=True)
    measured = [name for name in TRIALS if all(_file(work_dir, number, name).exists() for number in of_folds)]
    if set(names) <= set(measured):
        write_table(source, work_dir, of_folds, measured)


def same_data(work_dir: Path, arguments: Mapping[str, object]) -> None:
    """Stop where the folder holds measurements on other data."""
    file, now = work_dir / "data.json", {name: str(value) for name, value in arguments.items()}
    if file.exists() and (before := read_json(file)) != now:
        raise SystemExit(f"{work_dir} holds trials on {before}, not on {now}. Pass another --work_dir, or delete it")
    work_dir.mkdir(parents=True, exist_ok=True)
    write_json(file, now)


def prepared(
    source: SourceName, data_dir: Path | None, auxiliary_orders: Path | None, n_folds: int, fold: int, work_dir: Path
) -> Fold:
    """A fold; prepare does nothing where that has been done."""
    settings = PrepareSettings(targets="rolling", rolling_targets=1, n_folds=n_folds, fold=fold)
    folder = ProcessedFolder(prepare(RawData(source, data_dir, work_dir / "processed"), settings))
    return Fold(folder, read_auxiliary_orders(auxiliary_orders, folder) if auxiliary_orders else None)


def counted(fold: Fold) -> Floats:
    """``(Q,)``: NDCG@10 of recency-weighted frequency, the default one of its grid."""
    method = RecencyFrequency().fit(fold.training, fold.texts)
    scores = []
    for begin in range(0, len(fold.held_out), _AT_A_TIME):
        some = fold.held_out.select(slice(begin, begin + _AT_A_TIME))
        candidates = Candidates.of(some, len(fold.texts))
        scores.append(method.scores(Queries([""] * len(some), some))[candidates.query, candidates.product])
    return fold.ndcg(np.concatenate(scores))


def write_table(source: str, work_dir: Path, folds: list[int], names: list[str]) -> None:
    """Pool the folds."""

    def pooled(name: str) -> Floats:
        return np.concatenate([np.load(_file(work_dir, number, name)) for number in folds])

    shipped, rows = pooled(SHIPPED), []
    for name in ("recency_frequency", *names):
        values = pooled(name)
        what = TRIALS[name].what if name in TRIALS else "no learning: recency-weighted frequency (beta .8)"
        row: dict[str, Any] = {"trial": name, "what": what, "ndcg@10": float(np.nanmean(values))}
        if name != SHIPPED:
            row |= paired_difference(shipped, values).as_json("difference")
        rows.append(row)
    file = REPOSITORY / "results" / f"ranker_trials_{source}.json"
    save(
        file,
        ["torch", "lightning", "scikit-learn", "numpy"],
        {"source": source, "folds": folds, "n_users": int((~np.isnan(shipped)).sum()), "trials": rows},
    )
    lines = ["| trial | NDCG@10 | difference from shipped [95 %, paired] |", "|---|---:|---:|"]
    for row in rows:
        change = "{difference:+.4f} [{low:+.4f}, {high:+.4f}]".format(**row) if "low" in row else ""
        lines.append(f"| {row['what']} | {row['ndcg@10']:.4f} | {change} |")
    file.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _file(work_dir: Path, fold: int, name: str) -> Path:
    return work_dir / f"fold{fold}" / f"{name}.npy"


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
