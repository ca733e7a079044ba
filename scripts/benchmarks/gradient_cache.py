"""Memory and time of one training step with and without the gradient cache, on MiniLM and real batches.

    python scripts/benchmarks/gradient_cache.py --processed_dir processed/p5_mp20_ef0.1_rollall

Each measurement is a process of its own: its peak resident memory less what it held before the step. Without the cache
memory grows with the batch, so a large one may not fit; --orders_without names the sizes to measure without. Writes
results/benchmarks/gradient_cache.json.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_record import RESULTS, save
from jsonargparse import auto_cli

from lit_rec.data.dataset import OrderDataset, TokenCache
from lit_rec.data.processed import ProcessedFolder
from lit_rec.models.bi_encoder import BiEncoder


def measure(processed_dir: Path, orders: int, rows: int | None, max_seq_length: int) -> dict[str, Any]:
    """One step in this process."""
    model = BiEncoder(max_seq_length=max_seq_length, dropout=0.0, grad_cache_size=rows)
    cache = TokenCache(ProcessedFolder(processed_dir), model.encoder)
    cache.build()
    dataset = OrderDataset(cache.training_pairs(), micro_batch_size=rows or 64)
    batch = dataset[np.sort(np.random.default_rng(0).permutation(len(dataset))[:orders])]
    before = _peak_gb()
    start = time.perf_counter()
    model.batch_losses(batch).mean().backward()  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - start
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    return {
        "orders": orders,
        "grad_cache_size": rows,
        "products": len(batch["product_position"]),
        "step_gb": round(_peak_gb() - before, 3),
        "peak_gb": round(_peak_gb(), 3),
        "seconds": round(seconds, 1),
        "gradient_norm": float(norm),
    }


def main(
    processed_dir: Path = Path("processed/p5_mp20_ef0.1_rollall"),
    orders_with: list[int] = [64, 512],  # noqa: B006 - read only
    orders_without: list[int] = [16, 64],  # noqa: B006
    rows: int = 32,
    max_seq_length: int = 128,
    one: str | None = None,
    output: Path = RESULTS / "gradient_cache.json",
) -> None:
    """Measure each size in a process of its own.

    Args:
        processed_dir: whose training orders.
        orders_with: batch sizes with the cache.
        orders_without: batch sizes without it.
        rows: texts encoded at a time with the cache.
        max_seq_length: texts are cut to this many tokens.
        one: for the processes that this one starts: 'ORDERS,ROWS' to measure, ROWS 0 for no cache.
        output: file for the figures.
    """
    if one is not None:
        orders, cached_rows = map(int, one.split(","))
        print(json.dumps(measure(processed_dir, orders, cached_rows or None, max_seq_length)))
        return
    common = [sys.executable, __file__, "--processed_dir", str(processed_dir), "--max_seq_length", str(max_seq_length)]
    found = []
    for orders, cached_rows in [*((n, 0) for n in orders_without), *((n, rows) for n in orders_with)]:
        done = subprocess.run([*common, "--one", f"{orders},{cached_rows}"], check=True, stdout=subprocess.PIPE)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(found[-1], flush=True)
    save(output, ["torch", "sentence-transformers"], {"max_seq_length": max_seq_length, "steps": found})


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    auto_cli(main)
