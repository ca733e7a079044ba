"""Whole-catalogue evaluation of 13,120 queries x 49,688 products: seconds and memory beside the embeddings.

Ours is what validation runs: :class:`lit_rec.training.retrieval_evaluation.CatalogueSearch` and
:class:`lit_rec.metrics.retrieval.RetrievalMetrics`, 64 or 256 queries at a time. The peer is sentence-transformers'
``InformationRetrievalEvaluator`` with its default settings, on the first 1,000 of the same queries. Embeddings are
random unit vectors of 384 dimensions, given to both ready-made, so that no encoder is in the figures. Each contender
is a process of its own; the numbers of both must agree to 1e-6, or the script fails.

    python scripts/benchmarks/evaluation_memory.py
    python scripts/benchmarks/evaluation_memory.py --n_queries 500 --peer_queries 100   # a try

Where it goes: most of the time is the matrix product (on a busy laptop-like machine 0.8 of 1.1 ms a query in chunks of
256, 1.3 of 1.9 in chunks of 64; ``topk`` and the metrics share the rest), which the peer has to do as well, so that
little separates the two in time. Memory is what does: ours needs one chunk's scores (256 queries x 49,688 products x
4 bytes = 51 MB) and what ``topk`` needs. The peer scores all its queries at once, 2.6 GB for 13,120 of them, which is
why it is given fewer.
"""

import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from benchmark_record import RESULTS, save
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from lit_rec.core.errors import SettingError
from lit_rec.metrics.retrieval import MAX_RANK, RetrievalMetrics
from lit_rec.training.retrieval_evaluation import CatalogueSearch

PEER = "the peer, all at once"
GB_LIMIT = 2
TOLERANCE = 1e-6
_RELEVANT, _HISTORY, _SIGNAL = 20, 60, 0.25  # a query leans towards its relevant products, so that there are hits


def main(
    n_queries: int = 13_120,
    n_products: int = 49_688,
    n_dimensions: int = 384,
    peer_queries: int = 1_000,
    chunk_sizes: tuple[int, ...] = (64, 256),
    json_file: Path = RESULTS / "evaluation_memory.json",
) -> None:
    """Measure ours and the peer, and check that they say the same.

    Args:
        n_queries: queries that ours evaluates; 13,120 is the Instacart seed's number.
        n_products: size of the catalogue; 49,688 is Kaggle's.
        n_dimensions: of an embedding.
        peer_queries: the first so many queries are given to the peer, and to ours for comparison.
        chunk_sizes: queries that ours takes at a time.
        json_file: where the figures go.
    """
    if not 1 <= peer_queries <= n_queries:
        raise SettingError("peer_queries must be from 1 to n_queries", f"got {peer_queries}")
    sizes = (n_queries, n_products, n_dimensions)
    results: dict[str, dict[str, Any]] = {}
    for chunk_size in chunk_sizes:
        results[f"ours, {chunk_size} at a time"] = _in_new_process(_measure_ours, sizes, n_queries, chunk_size)
    same_queries = _in_new_process(_measure_ours, sizes, peer_queries, chunk_sizes[-1])
    results[PEER] = _in_new_process(_measure_peer, sizes, peer_queries)
    difference = _largest_difference(same_queries["metrics"], results[PEER]["metrics"])
    for figures in results.values():
        figures["speed_ratio"] = round(results[PEER]["ms_per_query"] / figures["ms_per_query"], 1)
    _print(results, difference, sizes)
    save(
        json_file,
        ["sentence-transformers", "torch", "torchmetrics"],
        {
            "sizes": dict(zip(("n_queries", "n_products", "n_dimensions"), sizes, strict=True)),
            "torch_threads": torch.get_num_threads(),
            "results": results,
            "lit_rec_on_the_peers_queries": same_queries,
            "largest_difference": difference,
            "limits": {"gb_beside_embeddings": GB_LIMIT, "difference": TOLERANCE},
        },
    )


def _in_new_process(measure: Any, *args: Any) -> dict[str, Any]:  # noqa: ANN401 - a function and its arguments
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        figures: dict[str, Any] = pool.submit(measure, *args).result()
    return figures


def _measure_ours(sizes: tuple[int, int, int], n_used: int, chunk_size: int) -> dict[str, Any]:
    before = _resident("VmRSS")
    products, queries, relevant, history = _made_up(*sizes)
    _evaluate(products, queries[:chunk_size], relevant, history, chunk_size)  # first calls load code
    evaluate = partial(_evaluate, products, queries[:n_used], relevant, history, chunk_size)
    return _timed(evaluate, n_used, before + products.nbytes + queries.nbytes)


def _evaluate(
    products: Tensor, queries: Tensor, relevant: Tensor, history: Tensor, chunk_size: int
) -> dict[str, float]:
    search = CatalogueSearch(len(products), n_batches=1)
    search.embeddings = products
    metrics = RetrievalMetrics(len(products))
    for begin in range(0, len(queries), chunk_size):
        chunk = slice(begin, begin + chunk_size)
        _, ranked = search.search(queries[chunk], MAX_RANK)
        metrics.update(ranked, relevant[chunk][: len(ranked)], history[chunk][: len(ranked)])
    return {name: float(value) for name, value in metrics.compute().items()}


def _measure_peer(sizes: tuple[int, int, int], n_used: int) -> dict[str, Any]:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers.util import dot_score

    before = _resident("VmRSS")
    products, queries, relevant, _ = _made_up(*sizes)
    evaluator = InformationRetrievalEvaluator(
        queries={str(row): "" for row in range(n_used)},
        corpus={str(row): "" for row in range(len(products))},
        relevant_docs={str(row): {str(i) for i in relevant[row].tolist() if i >= 0} for row in range(n_used)},
        score_functions={"cosine": dot_score},  # the same for unit vectors, without normalising them again
    )

    def evaluate() -> dict[str, float]:
        model: Any = _ReadyMade(queries[:n_used], products)
        by_metric: Any = evaluator.compute_metrices(model)
        return {
            name.replace("@k", f"@{k}"): float(value)
            for name, values in by_metric["cosine"].items()
            for k, value in values.items()
        }

    return _timed(evaluate, n_used, before + products.nbytes + queries.nbytes)


@dataclass(frozen=True)
class _ReadyMade:
    """What the evaluator asks of a model, with the embeddings there already.

    Args:
        queries: ``(Q, D)``.
        products: ``(N, D)``; the evaluator takes up to 50,000 at a time, which is all of them.
    """

    queries: Tensor
    products: Tensor

    def encode_query(self, texts: Sequence[str], **kwargs: object) -> Tensor:
        return self._checked(self.queries, texts)

    def encode_document(self, texts: Sequence[str], **kwargs: object) -> Tensor:
        return self._checked(self.products, texts)

    def _checked(self, embeddings: Tensor, texts: Sequence[str]) -> Tensor:
        if len(texts) != len(embeddings):
            raise SettingError("The evaluator must take all products at once", f"it asks for {len(texts):,}")
        return embeddings


def _made_up(n_queries: int, n_products: int, n_dimensions: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Products ``(N, D)``, queries ``(Q, D)``, relevant ``(Q, R)`` and history ``(Q, H)``; the same every time."""
    rng = torch.Generator().manual_seed(0)
    products = normalize(torch.randn(n_products, n_dimensions, generator=rng))
    relevant = torch.randint(n_products, (n_queries, _RELEVANT), generator=rng)
    history = torch.randint(n_products, (n_queries, _HISTORY), generator=rng)
    history[:, ::3] = relevant  # a third of the history is bought again
    n_relevant = torch.randint(1, _RELEVANT + 1, (n_queries, 1), generator=rng)
    is_relevant = torch.arange(_RELEVANT) < n_relevant
    queries = normalize(torch.randn(n_queries, n_dimensions, generator=rng))
    for column in range(_RELEVANT):  # one after the other: little memory
        queries += _SIGNAL * products[relevant[:, column]] * is_relevant[:, column : column + 1]
    return products, normalize(queries), relevant.masked_fill(~is_relevant, -1), history


def _timed(evaluate: Callable[[], dict[str, float]], n_queries: int, base: int) -> dict[str, Any]:
    """Seconds, and the highest resident memory above ``base`` bytes: the process before, and the embeddings."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak of making the data up
    begin = time.perf_counter()
    metrics = evaluate()
    seconds = time.perf_counter() - begin
    return {
        "n_queries": n_queries,
        "seconds": round(seconds, 2),
        "ms_per_query": round(1000 * seconds / n_queries, 3),
        "gb_beside_embeddings": round((_resident("VmHWM") - base) / 1e9, 3),
        "metrics": metrics,
    }


def _resident(field: str) -> int:
    """Bytes of resident memory, now (VmRSS) or at most (VmHWM); Linux only."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def _largest_difference(ours: dict[str, float], peers: dict[str, float]) -> float:
    """Over all of the peer's metrics.

    Raises:
        ArithmeticError: one differs by more than the tolerance.
    """
    differences = {name: abs(ours[name] - value) for name, value in peers.items()}
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= TOLERANCE:
        raise ArithmeticError(f"{worst} is {ours[worst]} here and {peers[worst]} of the peer")
    return differences[worst]


def _print(results: dict[str, dict[str, Any]], difference: float, sizes: tuple[int, int, int]) -> None:
    n_queries, n_products, n_dimensions = sizes
    title = f"{n_queries:,} queries x {n_products:,} products of {n_dimensions} dimensions, embeddings given"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("queries", "seconds", "ms/query", "speed", "GB beside", "ndcg@10"):
        table.add_column(name, justify="right")
    for name, figures in results.items():
        table.add_row(
            name,
            f"{figures['n_queries']:,}",
            f"{figures['seconds']:.1f}",
            f"{figures['ms_per_query']:.2f}",
            f"{figures['speed_ratio']:.1f}",
            f"{figures['gb_beside_embeddings']:.2f}",
            f"{figures['metrics']['ndcg@10']:.4f}",
        )
    console = Console()
    console.print(table)
    ours = [figures["gb_beside_embeddings"] for name, figures in results.items() if name != PEER]
    verdict = "kept" if max(ours) < GB_LIMIT else "broken"
    console.print(f"The limit of {GB_LIMIT} GB beside the embeddings is {verdict}: {max(ours):.2f} GB at most.")
    console.print(f"On the peer's queries all of its metrics are ours too; largest difference {difference:.1e}.")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
