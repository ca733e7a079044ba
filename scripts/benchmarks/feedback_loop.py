"""The feedback loop closed: does a model that is trained on with feedback please other users more?

A young shop: few users' orders to train on. Its model is served over HTTP, held-out users of one half ask it and
act on the answers by a click model with position bias; their feedback is turned into pairs, the model is trained on a
little, and the users of the other half, whom neither model has seen, ask each model in turn. They act by the same
random numbers whatever they are shown, so that the models are compared user by user.

- base: the model that collected the feedback;
- original pairs: trained on for as many steps without feedback: what the further steps alone bring;
- feedback, positives: with what was bought or put into a cart, weighted by inverse propensity;
- feedback: and with hard negatives, what was shown and left alone: what fit does by default.

    python scripts/benchmarks/feedback_loop.py

Writes results/feedback_loop.json and results/feedback_loop.png. What an earlier, interrupted run has measured is not
measured again; to begin anew, delete --work_dir.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import uvicorn
from benchmark_record import save
from jsonargparse import auto_cli

from lit_rec.cli.main import main as run_command
from lit_rec.core.files import read_json
from lit_rec.data.processed import ProcessedFolder
from lit_rec.evaluation.plots import metric_bars
from lit_rec.feedback.clicks import step_chances
from lit_rec.feedback.impressions import open_for_reading, read_products
from lit_rec.feedback.settings import SimulateSettings
from lit_rec.metrics.intervals import Estimate, paired_difference
from lit_rec.service.app import create_app
from lit_rec.service.settings import ServiceSettings
from lit_rec.store.events import EventType

BASE, CONTROL = "base", "original pairs"
ARMS: dict[str, list[str]] = {
    CONTROL: [],
    "feedback, positives": ["--data.hard_negative_weight", "0"],
    "feedback": [],
}
"""Each model that is trained on, and what it is told beyond where its pairs are."""

TITLES = {
    "expected_clicks": "Expected clicks a request",
    "expected_purchases": "Expected purchases a request",
    "clicks": "Clicks a request",
    "purchases": "Purchases a request",
    "bought_shown": "Products of ten that are really bought",
    "ndcg": "NDCG@10",
}
"""Outcomes; those expected are the click model's own means for the list that was served, without luck."""

_TOP_K = 10
_MODEL = ["--model.max_seq_length", "512", "--model.temperature", "0.05", "--model.logq_correction", "1.0"]
_TRAINER = ["--trainer.precision", "32-true", "--trainer.accelerator", "cpu", "--wandb", "off"]
_SIMULATION = SimulateSettings(click_model="position_based", request_mode="context", top_k=_TOP_K)


def lit_rec(*words: str) -> None:
    """Run a command."""
    print("$ python -m lit_rec", *words, flush=True)
    run_command(words)


@contextmanager
def served(model_dir: Path, corpus: Path, database: Path, port: int) -> Iterator[str]:
    """Serve a model; yields the URL once it is ready."""
    settings: dict[str, Any] = {
        "model_dir": str(model_dir),
        "corpus_path": corpus,
        "feedback_db_path": str(database),
        "inference_device": "cpu",
        "rate_limit": "off",
        "serve_page": False,
        "log_level": "WARNING",
    }
    app = create_app(ServiceSettings(**settings))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        while not server.started or httpx.get(f"{url}/ready").status_code != 200:
            if not thread.is_alive():
                raise RuntimeError(f"the service of {model_dir} did not start")
            time.sleep(0.1)
        yield url
    finally:
        server.should_exit = True
        thread.join()


def trained(output_dir: Path, processed: Path, *words: str) -> Path:
    """Fit a model unless that is done; returns its folder."""
    final = output_dir / "final"
    if not final.exists():
        where = ["--output_dir", str(output_dir), "--data.processed_dir", str(processed)]
        sizes = ["--data.batch_size", "64", "--data.eval_batch_size", "1024"]
        lit_rec("fit", *where, *sizes, *_MODEL, *_TRAINER, *words)
        lit_rec("export", "--ckpt_path", str(output_dir / "checkpoints" / "last.ckpt"), "--output_dir", str(final))
    return final


def asked(model_dir: Path, processed: Path, database: Path, port: int, *words: str) -> None:
    """Let users ask a model, unless that is done."""
    if database.with_suffix(".done").exists():
        return
    database.unlink(missing_ok=True)
    with served(model_dir, processed / "eval_corpus.json", database, port) as url:
        where = ["--url", url, "--processed_dir", str(processed)]
        how = [
            "--click_model",
            _SIMULATION.click_model,
            "--request_mode",
            _SIMULATION.request_mode,
            "--top_k",
            str(_TOP_K),
        ]
        lit_rec("feedback", "simulate", *where, *how, *words)
    database.with_suffix(".done").touch()


def outcomes(database: Path, folder: ProcessedFolder) -> pl.DataFrame:
    """One row a user, sorted by id: what came of the list, what was to be expected of it, and how good it was."""
    store = open_for_reading(database)
    products = read_products(store)
    store.close()
    bought = {query_id: set(ids) for query_id, ids in folder.relevant_docs.items()}
    rows = products.select("user", "product_id", "position").rows()
    is_bought = [product in bought[user] for user, product, _ in rows]
    chances = [step_chances(row[2], hit, _SIMULATION) for row, hit in zip(rows, is_bought, strict=True)]
    products = products.with_columns(
        clicks=pl.col(EventType.CLICK.value),
        purchases=pl.col(EventType.PURCHASE.value),
        expected_clicks=pl.Series([click for click, _, _ in chances]),
        expected_purchases=pl.Series([click * cart * purchase for click, cart, purchase in chances]),
        bought_shown=pl.Series(is_bought),
        ndcg=pl.Series([hit / np.log2(row[2] + 1) for row, hit in zip(rows, is_bought, strict=True)]),
    )
    ideal = {user: sum(1 / np.log2(k + 1) for k in range(1, min(_TOP_K, len(ids)) + 1)) for user, ids in bought.items()}
    of_users = products.group_by("user").agg(pl.col(list(TITLES)).sum()).sort("user")
    return of_users.with_columns(ndcg=pl.col("ndcg") / pl.col("user").replace_strict(ideal, return_dtype=pl.Float64))


def one_loop(work: Path, seed: int, n_users: int, requests_a_user: int, steps: int, port: int) -> dict[str, Any]:
    """Serve, simulate, make pairs, train on, measure on the other half; returns what came of each model."""
    source = ["--source", "synthetic", "--data_dir", str(work / "raw"), "--output_dir", str(work / "processed")]
    sizes = ["--n_users", str(n_users), "--n_products", "2000", "--seed", str(seed)]
    split = ["--eval_frac", "0.9", "--val_frac", "0.5", "--targets", "rolling", "--rolling_targets", "4"]
    lit_rec("prepare", *source, *sizes, *split)
    (processed,) = (work / "processed").iterdir()
    folder = ProcessedFolder(processed)
    start = ["--seed_everything", str(seed)]
    static = ["--model.encoder", "static", "--model.added_tokens_from", str(processed), "--trainer.max_epochs", "6"]
    base = trained(work / BASE, processed, *start, *static, "--model.learning_rate", "3e-3")
    n_val, n_test = folder.params["n_val_queries"], folder.params["n_test_queries"]
    collected = work / "collected.db"
    n_requests = ["--split", "val", "--n_requests", str(requests_a_user * n_val), "--seed", str(seed)]
    asked(base, processed, collected, port, *n_requests)
    pairs = work / "pairs"
    if not pairs.exists():
        where = ["--db_path", str(collected), "--processed_dir", str(processed), "--output_dir", str(pairs)]
        lit_rec("feedback", "to-pairs", *where)
    models = {BASE: base}
    for name, words in ARMS.items():
        given = [] if name == CONTROL else ["--data.feedback_dir", str(pairs)]
        on = ["--model.base_model", str(base), "--model.learning_rate", "1e-3", "--trainer.max_steps", str(steps)]
        limits = ["--trainer.max_epochs", "1000", "--trainer.num_sanity_val_steps", "0"]
        quiet = ["--trainer.limit_val_batches", "0", "--trainer.check_val_every_n_epoch", "1000"]
        models[name] = trained(
            work / name.replace(", ", "_").replace(" ", "_"), processed, *start, *given, *on, *limits, *quiet, *words
        )
    of_model = {}
    for name, model in models.items():
        database = model.parent / "asked.db"
        asked(
            model,
            processed,
            database,
            port,
            "--split",
            "test",
            "--n_requests",
            str(n_test),
            "--seed",
            str(1_000 + seed),
        )
        of_model[name] = outcomes(database, folder)
    record = read_json(pairs / "feedback_params.json")
    counts = {key: record[key] for key in ("n_requests", "n_orders", "n_pairs", "n_negatives", "examination")}
    return {"pairs": counts, "n_train_orders": folder.params["n_train_orders"], "outcomes": of_model}


def main(
    work_dir: Path = Path("results/tmp/feedback_loop"),
    json: Path = Path("results/feedback_loop.json"),
    picture: Path = Path("results/feedback_loop.png"),
    n_seeds: int = 3,
    n_users: int = 1_500,
    requests_a_user: int = 3,
    steps: int = 60,
    port: int = 3977,
) -> None:
    """Run the loop for some seeds and compare the models.

    Args:
        work_dir: data, models and databases go here.
        json: the figures.
        picture: the picture.
        n_seeds: shops, each with its own users, catalogue and models.
        n_users: users of a shop; a tenth is trained on, the rest are halved.
        requests_a_user: requests of each user who gives feedback.
        steps: batches of 64 orders that a model is trained on for.
        port: of the service.
    """
    loops = [
        one_loop(work_dir / f"seed_{seed}", seed, n_users, requests_a_user, steps, port) for seed in range(n_seeds)
    ]
    by_seed = [loop["outcomes"] for loop in loops]
    together = {name: pl.concat([loop["outcomes"][name] for loop in loops]) for name in (BASE, *ARMS)}
    means = {name: _means(table) for name, table in together.items()}
    estimates = {
        f"{name} - {baseline}": {
            outcome: paired_difference(together[baseline][outcome], together[name][outcome]) for outcome in TITLES
        }
        for name in ARMS
        for baseline in (BASE, CONTROL)
        if name != baseline
    }
    differences = {
        pair: {
            outcome: found.as_json("difference")
            | {"of_each_seed": [_means(each[name])[outcome] - _means(each[baseline])[outcome] for each in by_seed]}
            for outcome, found in of_pair.items()
        }
        for pair, of_pair in estimates.items()
        for name, baseline in [pair.split(" - ")]
    }
    figures = {
        "settings": {"n_seeds": n_seeds, "n_users": n_users, "requests_a_user": requests_a_user, "steps": steps},
        "n_test_users": len(together[BASE]),
        "loops": [{key: loop[key] for key in ("n_train_orders", "pairs")} for loop in loops],
        "means_a_request": means,
        "differences_paired_by_user": differences,
    }
    save(json, ["torch", "sentence-transformers", "httpx"], figures)
    panels = {}
    for outcome, title in TITLES.items():
        panels[title] = {BASE: Estimate(means[BASE][outcome])}
        for name in ARMS:
            found = estimates[f"{name} - {BASE}"][outcome]
            base = means[BASE][outcome]
            panels[title][name] = Estimate(means[name][outcome], base + found.low, base + found.high)
    about = f"{len(together[BASE]):,} simulated users of {n_seeds} shops; intervals of the difference from base"
    metric_bars(picture, panels, about, BASE)


def _means(table: pl.DataFrame) -> dict[str, float]:
    return {outcome: float(table[outcome].to_numpy().mean()) for outcome in TITLES}


if __name__ == "__main__":
    auto_cli(main)
