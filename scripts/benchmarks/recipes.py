"""The reference project's training recipe against ours, on the Instacart sample, with equal numbers of pairs seen.

Three models are tested on the same held-out users, whose orders none of them was trained on:

- untrained: MiniLM as it comes, on our contexts and on the reference's;
- reference: ``configs/instacart_reference.yaml``: pair mode, names spent on the oldest orders, "Next:" in training
  only, one target a user;
- ours: ``configs/instacart.yaml``: whole orders, rolling targets, newest orders first.

Both are trained for the same number of (context, product) pairs on the same training users, and choose their
checkpoint on the validation users; the table shows the test users.

    python scripts/benchmarks/recipes.py --data_dir ../shared/data/instacart-sample --pairs 12800

Writes results/recipes.json and results/recipes.md. On 2 CPU cores 12,800 pairs take about half an hour, most of it the
reference's: it encodes a context for each pair, ours one for each order.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

COLUMNS = (
    "ndcg@10",
    "recall@10",
    "accuracy@10",
    "mrr@10",
    "map@100",
    "repeat_recall@10",
    "explore_recall@100",
    "mean_cosine",
)
LABELS = {
    "untrained_reference": "untrained MiniLM, the reference's contexts",
    "untrained_ours": "untrained MiniLM, our contexts",
    "reference": "the reference's recipe",
    "ours": "ours",
}


def lit_rec(*words: str) -> float:
    """Run a verb; returns its seconds."""
    print("$ python -m lit_rec", *words, flush=True)
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "lit_rec", *words], check=True)
    return time.monotonic() - start


def prepared(output_dir: Path, *flags: str, data_dir: Path, eval_frac: float) -> Path:
    """Prepare the sample with some flags; returns the processed folder."""
    lit_rec(
        "prepare", "--data_dir", str(data_dir), "--output_dir", str(output_dir), "--eval_frac", str(eval_frac), *flags
    )
    return max(output_dir.iterdir(), key=lambda folder: folder.stat().st_mtime)


def tested(config: str, processed: Path, output_dir: Path, *flags: str) -> dict[str, float]:
    """Run the test of a config on a processed folder; returns its metrics."""
    (output_dir / "test_metrics.json").unlink(missing_ok=True)
    lit_rec("test", "--config", config, "--data.processed_dir", str(processed), "--output_dir", str(output_dir), *flags)
    metrics: dict[str, dict[str, float]] = json.loads((output_dir / "test_metrics.json").read_text(encoding="utf-8"))
    return next(iter(metrics.values()))


def trained(config: str, processed: Path, output_dir: Path, *flags: str) -> dict[str, float]:
    """Fit a config, test its best checkpoint; returns the metrics with the seconds of the fit."""
    common = ["--config", config, "--data.processed_dir", str(processed), "--output_dir", str(output_dir)]
    seconds = lit_rec("fit", *common, "--wandb", "off", "--trainer.num_sanity_val_steps", "0", *flags)
    best = output_dir / "checkpoints" / "best.ckpt"
    return {**tested(config, processed, output_dir, "--ckpt_path", str(best)), "fit_seconds": seconds}


def main(
    data_dir: Path = Path("../shared/data/instacart-sample"),
    work_dir: Path = Path("models/recipes"),
    pairs: int = 12_800,
    epochs: int = 1,
    eval_frac: float = 0.5,
) -> None:
    """Train and test all, and write the table.

    Args:
        data_dir: Kaggle-format files.
        work_dir: prepared data and models go here.
        pairs: pairs that each recipe is trained on, over all epochs.
        epochs: evaluations to choose a checkpoint from; each sees pairs / epochs pairs.
        eval_frac: share of the users held out.
    """
    source: dict[str, Any] = {"data_dir": data_dir, "eval_frac": eval_frac}
    as_reference = prepared(work_dir / "data_reference", "--name_budget", "oldest", "--next_segment", "true", **source)
    as_ours = prepared(work_dir / "data_ours", "--targets", "rolling", "--rolling_targets", "0", **source)
    params = json.loads((as_ours / "data_prep_params.json").read_text(encoding="utf-8"))
    orders_per_epoch = round(pairs / epochs * params["n_train_orders"] / params["n_train_pairs"])
    reference_config, our_config = "configs/instacart_reference.yaml", "configs/instacart.yaml"
    few = ["--trainer.max_epochs", str(epochs)]
    as_many_orders = ["--data.train_orders", str(orders_per_epoch), "--data.batch_size", "32"]
    as_many_pairs = ["--trainer.limit_train_batches", str(round(pairs / epochs / 64))]
    results = {
        "untrained_reference": tested(reference_config, as_reference, work_dir / "untrained_reference"),
        "untrained_ours": tested(our_config, as_ours, work_dir / "untrained_ours"),
        "ours": trained(our_config, as_ours, work_dir / "ours", *few, *as_many_orders),
        "reference": trained(reference_config, as_reference, work_dir / "reference", *few, *as_many_pairs),
    }
    settings = {"pairs": pairs, "epochs": epochs, "eval_frac": eval_frac, "orders_per_epoch": orders_per_epoch}
    write(results, settings)


def write(results: dict[str, dict[str, float]], settings: dict[str, Any]) -> None:
    """Write the figures as JSON and as a markdown table."""
    folder = Path("results")
    folder.mkdir(exist_ok=True)
    record = {"command": " ".join(sys.argv), "settings": settings, "results": results}
    (folder / "recipes.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    n_queries = int(next(iter(results.values()))["n_queries"])
    lines = [f"| {settings['pairs']:,} pairs seen; {n_queries} test users | {' | '.join(COLUMNS)} |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for name, label in LABELS.items():
        lines.append(f"| {label} | " + " | ".join(f"{results[name][column]:.3f}" for column in COLUMNS) + " |")
    (folder / "recipes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
