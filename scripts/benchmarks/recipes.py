"""The Instacart seed's training recipe against ours, on the Instacart sample, with equal numbers of pairs seen.

Three models are tested on the same held-out users, whose orders none of them was trained on:

- untrained: MiniLM as it comes, on our contexts and on the seed's;
- reference: ``configs/instacart_seed.yaml``: pair mode, names spent on the oldest orders, "Next:" in training
  only, one target a user;
- ours: ``configs/instacart.yaml``: whole orders, rolling targets, newest orders first.

Both are trained for the same number of (context, product) pairs on the same training users, and choose their
checkpoint on the validation users; the table shows the test users.

    python scripts/benchmarks/recipes.py --data_dir ../shared/data/instacart-sample

Writes results/recipes.json and results/recipes.md. By default each recipe sees as many pairs as the seed has in
one epoch; on 2 CPU cores that takes half an hour. A model that an earlier, interrupted run has tested is not trained
again; to begin anew, delete --work_dir.
"""

import json
import subprocess
import sys
from math import ceil
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

from lit_rec.core.errors import SettingError
from lit_rec.core.schema import PARAMS
from lit_rec.metrics.headline import HEADLINE_METRICS

LABELS = {
    "untrained_reference": "untrained MiniLM, the seed's contexts",
    "untrained_ours": "untrained MiniLM, our contexts",
    "reference": "the seed's recipe",
    "ours": "ours",
}


def lit_rec(*words: str) -> None:
    """Run a command."""
    print("$ python -m lit_rec", *words, flush=True)
    subprocess.run([sys.executable, "-m", "lit_rec", *words], check=True)


def prepared(output_dir: Path, *flags: str, data_dir: Path, eval_frac: float) -> Path:
    """Prepare the sample with some flags; returns the processed folder."""
    lit_rec(
        "prepare", "--data_dir", str(data_dir), "--output_dir", str(output_dir), "--eval_frac", str(eval_frac), *flags
    )
    return max(output_dir.iterdir(), key=lambda folder: folder.stat().st_mtime)


def tested(config: str, processed: Path, output_dir: Path, *flags: str) -> dict[str, float]:
    """Run the test of a config on a processed folder, unless that is done; returns its metrics."""
    file = output_dir / "test_metrics.json"
    if not file.exists():
        lit_rec(
            "test", "--config", config, "--data.processed_dir", str(processed), "--output_dir", str(output_dir), *flags
        )
    metrics: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))
    return next(iter(metrics.values()))


def trained(config: str, processed: Path, output_dir: Path, *flags: str) -> dict[str, float]:
    """Fit a config and test its best checkpoint, unless that is done; returns the metrics."""
    common = ["--config", config, "--data.processed_dir", str(processed), "--output_dir", str(output_dir)]
    best = output_dir / "checkpoints" / "best.ckpt"
    if not best.exists():
        lit_rec("fit", *common, "--wandb", "off", "--trainer.num_sanity_val_steps", "0", *flags)
    return tested(config, processed, output_dir, "--ckpt_path", str(best))


def main(
    data_dir: Path = Path("../shared/data/instacart-sample"),
    work_dir: Path = Path("models/recipes"),
    pairs: int | None = None,
    epochs: int = 1,
    eval_frac: float = 0.5,
) -> None:
    """Train and test all, and write the table.

    Args:
        data_dir: Kaggle-format files.
        work_dir: prepared data and models go here.
        pairs: pairs that each recipe is trained on, over all epochs; none for all that the seed has.
        epochs: evaluations to choose a checkpoint from; each sees pairs / epochs pairs.
        eval_frac: share of the users held out.
    """
    source: dict[str, Any] = {"data_dir": data_dir, "eval_frac": eval_frac}
    as_seed = prepared(
        work_dir / f"data_reference_{eval_frac}",
        "--truncate",
        "keep_oldest",
        "--next_order_in_context",
        "training",
        **source,
    )
    as_ours = prepared(work_dir / f"data_ours_{eval_frac}", "--targets", "rolling", "--rolling_targets", "0", **source)
    counts = {folder: json.loads((folder / PARAMS).read_text(encoding="utf-8")) for folder in (as_seed, as_ours)}
    pairs = pairs or epochs * counts[as_seed]["n_train_pairs"]
    if pairs / epochs > counts[as_seed]["n_train_pairs"]:
        raise SettingError(
            "The seed must have as many pairs an epoch as are asked for",
            f"it has {counts[as_seed]['n_train_pairs']:,}, asked for are {pairs / epochs:,.0f}",
            "Ask for fewer --pairs or more --epochs",
        )
    orders_per_epoch = round(pairs / epochs * counts[as_ours]["n_train_orders"] / counts[as_ours]["n_train_pairs"])
    seed_config, our_config = "configs/instacart_seed.yaml", "configs/instacart.yaml"
    few = ["--trainer.max_epochs", str(epochs)]
    as_many_orders = ["--data.train_orders", str(orders_per_epoch), "--data.batch_size", "32"]
    as_many_pairs = ["--trainer.limit_train_batches", str(ceil(pairs / epochs / 64))]
    results = {
        "untrained_reference": tested(seed_config, as_seed, work_dir / "untrained_reference"),
        "untrained_ours": tested(our_config, as_ours, work_dir / "untrained_ours"),
        "ours": trained(our_config, as_ours, work_dir / "ours", *few, *as_many_orders),
        "reference": trained(seed_config, as_seed, work_dir / "reference", *few, *as_many_pairs),
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
    columns = (*HEADLINE_METRICS, "mean_cosine")
    lines = [f"| {settings['pairs']:,} pairs seen; {n_queries} test users | {' | '.join(columns)} |"]
    lines.append("|---|" + "---:|" * len(columns))
    for name, label in LABELS.items():
        lines.append(f"| {label} | " + " | ".join(f"{results[name][column]:.3f}" for column in columns) + " |")
    (folder / "recipes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
