"""What a back end costs and gains: ranking quality, closeness to torch, size and time, on the test queries.

    python scripts/benchmarks/encoder_backends.py --model_dir models/quickstart/final \
        --processed_dir processed/complete_journey_p5_mp20_ef0.3_roll4

Each bundle ranks by its encoder only: no ranker hides a loss. A bundle for int8 holds a catalogue that float32 has
encoded; what an int8 catalogue would lose is measured too. Time is processor time with one thread, one context at a
time, which other programs hardly add to. Writes results/benchmarks/encoder_backends.json.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from benchmark_record import RESULTS, save
from jsonargparse import auto_cli
from numpy.typing import NDArray

from lit_rec.core import schema
from lit_rec.core.schema import Backend, Split
from lit_rec.data.processed import ProcessedFolder
from lit_rec.evaluation.held_out import HeldOut, read_held_out
from lit_rec.evaluation.measure import measure
from lit_rec.evaluation.methods import ModelScorer
from lit_rec.inference.index import Vectors
from lit_rec.inference.recommender import Recommender
from lit_rec.metrics.intervals import paired_difference
from lit_rec.packaging.bundle import Bundle, write_bundle

METRICS = ("ndcg@10", "recall@10")


def main(
    model_dir: Path = Path("models/quickstart/final"),
    processed_dir: Path = Path("processed/complete_journey_p5_mp20_ef0.3_roll4"),
    split: Split = Split.TEST,
    n_timed: int = 100,
    output: Path = RESULTS / "encoder_backends.json",
) -> None:
    """Package the model for each back end and measure what is in the bundle.

    Args:
        model_dir: a model folder with a transformer.
        processed_dir: whose queries.
        split: which of them.
        n_timed: contexts to time.
        output: file for the figures.
    """
    torch.set_num_threads(1)
    folder = ProcessedFolder(processed_dir)
    held_out = read_held_out(folder, split)
    rows: dict[str, Any] = {}
    of_torch: tuple[NDArray[np.float32], Vectors] | None = None
    for backend in Backend:
        with TemporaryDirectory() as scratch:
            bundle = write_bundle(
                model_dir,
                processed_dir / schema.EVAL_CORPUS,
                Path(scratch) / "bundle",
                name="measured",
                backend=backend,
            )
            recommender = bundle.recommender("cpu" if backend == Backend.TORCH else None)
            rows[backend], quality, embeddings = measured(recommender, held_out, bundle, n_timed)
        if of_torch is None:
            of_torch = quality, embeddings
        cosine = (embeddings * of_torch[1]).sum(axis=1)
        rows[backend] |= {
            "ndcg@10_difference_to_torch": rounded(of_torch[0], quality),
            "cosine_to_torch": {"mean": round(float(cosine.mean()), 5), "least": round(float(cosine.min()), 5)},
        }
        if backend == Backend.ONNX_INT8:
            recommender.index.embeddings[:] = recommender.encoder.encode(list(recommender.corpus.values()))
            of_int8 = measure(ModelScorer(recommender, "int8", encoder_only=True), held_out)
            rows[backend]["ndcg@10_difference_with_int8_catalogue"] = rounded(of_torch[0], of_int8.values["ndcg@10"])
        print(backend, rows[backend], flush=True)
    figures = {"model_dir": str(model_dir), "processed_dir": str(processed_dir), "split": str(split), "backends": rows}
    save(output, ["torch", "sentence-transformers", "onnxruntime", "tokenizers", "numpy"], figures)


def rounded(first: NDArray[np.float32], second: NDArray[np.float32]) -> dict[str, float]:
    """The paired difference, with its 95 % interval."""
    found = paired_difference(first, second)
    return {"difference": round(found.value, 5), "low": round(found.low, 5), "high": round(found.high, 5)}


def measured(
    recommender: Recommender, held_out: HeldOut, bundle: Bundle, n_timed: int
) -> tuple[dict[str, Any], NDArray[np.float32], Vectors]:
    """Figures of one back end, NDCG@10 of each query, and the contexts' embeddings."""
    result = measure(ModelScorer(recommender, "encoder", encoder_only=True), held_out)
    contexts = held_out.queries.contexts
    milliseconds = []
    recommender.encoder.encode(contexts[:2])  # warm
    for context in contexts[:n_timed]:
        began = time.process_time()
        recommender.encoder.encode([context])
        milliseconds.append(1e3 * (time.process_time() - began))
    model_bytes = sum(file.stat().st_size for file in bundle.model_dir.rglob("*") if file.is_file())
    row = {
        **{name: round(float(np.nanmean(result.values[name])), 5) for name in METRICS},
        "n_queries": len(held_out),
        "cpu_ms_per_context": {
            "median": round(float(np.median(milliseconds)), 2),
            "p95": round(float(np.percentile(milliseconds, 95)), 2),
        },
        "model_mb": round(model_bytes / 1e6, 1),
    }
    return row, result.values["ndcg@10"], recommender.encoder.encode(contexts)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
