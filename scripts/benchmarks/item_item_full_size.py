"""``item_item`` and ``co_visitation`` at Kaggle's full size: 3.2 M orders, 32 M order lines, 49,688 products.

Measures seconds of fitting, seconds of scoring 64 users, and peak resident memory, each method in a process of its
own that holds the purchases too, and holds them against the limits of this project: 5 minutes and 8 GB. The peer is
the Instacart seed's counting (collaborative_filtering.py), a Python loop over the pairs of each order into a
dictionary: run here on a few thousand orders and extrapolated by the number of pairs, which favours it, since a
dictionary grows slower as it outgrows the caches.

Purchases are made up, since Kaggle's files may not be passed on: popularity falls off as 1 / (rank + 10), each user
buys from a pool of 65 products, orders hold 10 on average with the standard deviation of the real ones, 7.5. Name a
processed folder of Kaggle's files, prepared with an eval_frac below 1, to measure with those.

    python scripts/benchmarks/item_item_full_size.py
    python scripts/benchmarks/item_item_full_size.py --processed_dir processed/...
"""

import resource
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_record import RESULTS, save
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from lit_rec.baselines.registry import baseline_class
from lit_rec.data.histories import UNKNOWN, PurchaseHistories, Queries
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.ragged import starts
from lit_rec.ranking.order_matrix import OrderMatrix

SECONDS_LIMIT, GB_LIMIT = 300, 8
METHODS = ("item_item", "co_visitation")
_POOL, _SCORED, _PEER_ORDERS = 65, 64, 10_000


def main(
    processed_dir: Path | None = None,
    n_users: int = 206_209,
    n_products: int = 49_688,
    json_file: Path = RESULTS / "item_item_full_size.json",
) -> None:
    """Measure both methods and the peer.

    Args:
        processed_dir: whose training users to fit on; by default made-up ones.
        n_users: users to make up.
        n_products: products to make up.
        json_file: where the figures go.
    """
    measured: dict[str, dict[str, Any]] = {}
    for name in METHODS:
        print(f"{name}, in a process of its own")
        measured[name] = _in_own_process(_fit, name, processed_dir, n_users, n_products)
    print("The seed's counting, on a few orders")
    peer = _in_own_process(_peer, processed_dir, n_users, n_products)
    _print(measured, peer)
    figures = {
        "purchases": "made up" if processed_dir is None else str(processed_dir),
        "limits": {"seconds": SECONDS_LIMIT, "peak_gb": GB_LIMIT},
        "methods": measured,
        "peer": peer,
    }
    save(json_file, ["numpy", "scipy"], figures)


def _in_own_process(function: Any, *arguments: object) -> dict[str, Any]:  # noqa: ANN401 # any function
    """Peak memory is of a process; a spawned one begins with none of its parent's."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        figures: dict[str, Any] = pool.submit(function, *arguments).result()
    return figures


def _fit(name: str, processed_dir: Path | None, n_users: int, n_products: int) -> dict[str, Any]:
    histories, n_products = _purchases(processed_dir, n_users, n_products)
    peak_before = _peak_gb()
    baseline = baseline_class(name)()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    baseline.fit(histories, [""] * n_products)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    peak_fitted = _peak_gb()
    some = slice(0, _SCORED)
    begin_scoring = time.perf_counter()
    baseline.scores(Queries([""] * len(histories.select(some)), histories.select(some)))
    scored = time.perf_counter()
    matrix = next(kept for kept in vars(baseline).values() if hasattr(kept, "nnz"))
    return {
        "seconds": round(fitted - begin, 1),
        "cpu_seconds": round(fitted_cpu - begin_cpu, 1),
        "peak_gb": round(peak_fitted, 2),
        "peak_gb_of_purchases_alone": round(peak_before, 2),
        "peak_gb_with_scoring": round(_peak_gb(), 2),
        f"seconds_to_score_{_SCORED}": round(scored - begin_scoring, 2),
        "pairs_kept": int(matrix.nnz),
        "n_users": len(histories),
        "n_lines": len(histories.product),
        "n_products": n_products,
    }


def _peer(processed_dir: Path | None, n_users: int, n_products: int) -> dict[str, Any]:
    histories, n_products = _purchases(processed_dir, n_users, n_products)
    incidence = OrderMatrix.of(histories, n_products).incidence
    sizes = np.diff(incidence.indptr).astype(np.int64)
    chosen = np.random.default_rng(0).choice(len(sizes), min(_PEER_ORDERS, len(sizes)), replace=False)
    orders = [incidence.indices[incidence.indptr[o] : incidence.indptr[o + 1]].tolist() for o in chosen]
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    begin = time.perf_counter()
    for products in orders:
        for one in products:
            for other in products:
                counts[one, other] += 1
    seconds = time.perf_counter() - begin
    n_pairs, n_counted = int((sizes**2).sum()), int((sizes[chosen] ** 2).sum())
    return {
        "n_orders": len(sizes),
        "n_orders_measured": len(orders),
        "seconds_measured": round(seconds, 2),
        "seconds_extrapolated": round(seconds * n_pairs / n_counted),
    }


def _purchases(processed_dir: Path | None, n_users: int, n_products: int) -> tuple[PurchaseHistories, int]:
    """Histories, and the size of the catalogue."""
    if processed_dir is None:
        return _made_up(n_users, n_products), n_products
    from lit_rec.data.history_files import read_training_histories  # imports datasets

    folder = ProcessedFolder(processed_dir)
    return read_training_histories(folder), len(folder.corpus)


def _made_up(n_users: int, n_products: int) -> PurchaseHistories:
    rng = np.random.default_rng(0)
    weights = np.cumsum(1 / (np.arange(n_products) + 11))
    ranks = np.searchsorted(weights, rng.random((n_users, _POOL)) * weights[-1])
    pool = rng.permutation(n_products).astype(np.int32)[ranks]
    n_orders = np.clip(2 + rng.geometric(1 / 13.6, n_users), 3, 100)  # 15.6 on average
    order_user = np.repeat(np.arange(n_users, dtype=np.int32), n_orders)
    orders_ago = (np.repeat(starts(n_orders)[1:], n_orders) - np.arange(len(order_user))).astype(np.int32)
    sizes = 1 + rng.negative_binomial(1.77, 0.1625, len(order_user))
    n_lines = int(sizes.sum())
    place = (rng.random(n_lines, dtype=np.float32) ** 2 * _POOL).astype(np.int8)  # some are bought again and again
    product = pool[np.repeat(order_user, sizes), place]
    cart_position = np.arange(n_lines, dtype=np.int32) - np.repeat(starts(sizes)[:-1], sizes).astype(np.int32) + 1
    lines_of_user = np.bincount(order_user, weights=sizes, minlength=n_users).astype(np.int64)
    line_ago = np.repeat(orders_ago, sizes)
    return PurchaseHistories(
        line_start=starts(lines_of_user),
        product=product,
        orders_ago=line_ago,
        days_ago=line_ago.astype(np.float32) * 10,
        cart_position=cart_position.astype(np.int32),
        line_dow=np.full(n_lines, UNKNOWN, dtype=np.int8),
        line_hour=np.full(n_lines, UNKNOWN, dtype=np.int8),
        days_since_prior=np.full(n_users, 10, dtype=np.float32),
        dow=np.full(n_users, UNKNOWN, dtype=np.int8),
        hour=np.full(n_users, UNKNOWN, dtype=np.int8),
    )


def _peak_gb() -> float:
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte / 1e9


def _print(measured: dict[str, dict[str, Any]], peer: dict[str, Any]) -> None:
    table = Table(title="Counting what is bought together, at full size", title_justify="left")
    for name in ("", *measured, "limit"):
        table.add_column(name, justify="left" if not name else "right")
    limits = {"seconds": str(SECONDS_LIMIT), "peak_gb": str(GB_LIMIT)}
    for figure in next(iter(measured.values())):
        values = [f"{of_method[figure]:,}" for of_method in measured.values()]
        table.add_row(figure.replace("_", " "), *values, limits.get(figure, ""))
    console = Console()
    console.print(table)
    console.print(
        f"The seed's loop: {peer['seconds_measured']} s for {peer['n_orders_measured']:,} orders, "
        f"{peer['seconds_extrapolated']:,} s for all {peer['n_orders']:,}, extrapolated by the number of pairs"
    )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
