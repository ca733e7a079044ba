"""Pairs trained on per second: ours against sentence-transformers' own trainer, taking turns in one run.

The peer is ``SentenceTransformerTrainer`` as the Instacart seed uses it: 64 pairs a batch, ``NO_DUPLICATES``
sampler, ``MultipleNegativesRankingLoss`` of scale 30, 256 tokens, float32; on a GPU in bfloat16 too, which ours in
bfloat16 is then held against. Ours is the LightningModule with the DataModule, under a Lightning Trainer with the
gradient clipping of ``fit``, in batches of 32 whole orders and in batches of 64 pairs, in float32 and in the
precision that ``fit`` chooses on this machine. Orders are trained on as ``configs/instacart.yaml`` does, without
dropout; pairs, and the peer, with the base model's. Both start from the same weights and read the same processed
folder. A pair is a context and a product of its next order, on both sides; how often the context is encoded for it is
what differs.

    python scripts/benchmarks/training_throughput.py --processed_dir processed/p5_mp20_ef0.3_rollall
    python scripts/benchmarks/training_throughput.py --steps 4 --warm_up 1 --rounds 1   # a try

The clock runs from the end of the last warm-up step to the end of the last step: loading, padding, tokenising,
forward, backward, clipping, optimizer and the trainers' own overhead are in; model loading, evaluation and
checkpoints are not.

Where the time goes: nearly all of it into the encoder, in proportion to the tokens it is given, padding included;
the table's last column counts those for each pair. The peer encodes an order's context once for each of its ten or
so products, pads to the longest of 64 contexts of any length, and tokenises every text at every step; ours encodes
it once, takes orders of like length together, pads 64 texts at a time, and reads tokens from disk. Dropout costs
random numbers, and keeps attention on a CPU from its fused kernel.
"""

import gc
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from benchmark_record import RESULTS, save
from datasets import load_from_disk
from jsonargparse import auto_cli
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import PrinterCallback, TrainerCallback

from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL, load_sentence_transformer
from lit_rec.core import schema
from lit_rec.core.devices import Precision, default_precision
from lit_rec.core.errors import SettingError
from lit_rec.data.datamodule import NextOrderDataModule
from lit_rec.data.processed import find_processed_folder
from lit_rec.models.bi_encoder import BiEncoder

PEER, PEER_BF16 = "sentence-transformers", "sentence-transformers, bf16"
TARGET_RATIO = 9  # of batches of orders over the peer
_MAX_SEQ_LENGTH, _SCALE, _LEARNING_RATE = 256, 30.0, 1e-4
_PAIRS_A_BATCH, _ORDERS_A_BATCH = 64, 32


class Stopwatch:
    """Times the steps after the warm-up, and counts their pairs and the tokens that the encoder was given.

    Args:
        warm_up: steps that are not timed, at least 1.
        steps: steps that are.
    """

    def __init__(self, warm_up: int, steps: int) -> None:
        self.warm_up, self.last = warm_up, warm_up + steps
        self.done = self.pairs = self.tokens = 0
        self.begin = self.seconds = 0.0

    def count_tokens(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        """Forward hook of the transformer."""
        self.tokens += inputs[0]["input_ids"].numel()

    def step_done(self, n_pairs: int) -> None:
        """Called at the end of each step."""
        self.done += 1
        if self.done in (self.warm_up, self.last) and torch.cuda.is_available():
            torch.cuda.synchronize()
        if self.done == self.warm_up:
            self.begin, self.tokens = time.perf_counter(), 0
        elif self.done > self.warm_up:
            self.pairs += n_pairs
            self.seconds = time.perf_counter() - self.begin

    def figures(self) -> dict[str, float]:
        """What was measured."""
        return {
            "pairs": self.pairs,
            "seconds": round(self.seconds, 3),
            "pairs_per_second": round(self.pairs / self.seconds, 3),
            "tokens_per_pair": round(self.tokens / self.pairs, 1),
        }


class _LightningTimes(Callback):
    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        self.stopwatch.step_done(len(batch["product_index"]))


class _PeerTimes(TrainerCallback):  # type: ignore[misc, unused-ignore]
    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - transformers' signature
        self.stopwatch.step_done(_PAIRS_A_BATCH)


def main(
    processed_dir: Path = Path("processed"),
    steps: int = 20,
    warm_up: int = 3,
    rounds: int = 3,
    base_model: str = DEFAULT_BASE_MODEL,
    accelerator: Literal["auto", "cpu"] = "auto",
    json_file: Path = RESULTS / "training_throughput.json",
) -> None:
    """Let all of them train in turn, round after round, and compare.

    Args:
        processed_dir: a prepared folder, or one that holds some.
        steps: timed steps of each, in each round.
        warm_up: steps before those, not timed; at least 1.
        rounds: each round trains on other batches; the ratio reported is the median over rounds.
        base_model: a folder or a hub id.
        accelerator: auto takes a GPU where there is one.
        json_file: where the figures go.
    """
    if min(steps, warm_up, rounds) < 1:
        raise SettingError("steps, warm_up and rounds must be at least 1", f"got {steps}, {warm_up} and {rounds}")
    for name in ("lightning.pytorch", "lightning.fabric", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own
    folder = find_processed_folder(processed_dir)

    def ours(batch_by: Literal["order", "pair"], precision: Precision) -> Callable[[int], dict[str, float]]:
        return lambda seed: _ours(Stopwatch(warm_up, steps), folder, base_model, batch_by, precision, accelerator, seed)

    def peer(precision: Precision) -> Callable[[int], dict[str, float]]:
        return lambda seed: _peer(Stopwatch(warm_up, steps), folder, base_model, precision, accelerator, seed)

    precisions: list[Precision] = ["32-true"]
    precisions += [sound] if (sound := default_precision(accelerator)) not in precisions else []
    contenders: dict[str, Callable[[int], dict[str, float]]] = {PEER: peer("32-true")}
    on_cuda = accelerator == "auto" and torch.cuda.is_available()
    if on_cuda and "bf16-mixed" in precisions:
        contenders[PEER_BF16] = peer("bf16-mixed")
    for precision in precisions:
        contenders[f"orders, {precision}"] = ours("order", precision)
        contenders[f"pairs, {precision}"] = ours("pair", precision)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for seed in range(rounds):
        for name, train in contenders.items():
            results[name].append(train(seed))
            gc.collect()
            speed = results[name][-1]["pairs_per_second"]
            print(f"round {seed + 1} of {rounds}, {name}: {speed:.1f} pairs/s", flush=True)
    peers = {name: PEER_BF16 if "bf16" in name and PEER_BF16 in results else PEER for name in results}
    summary = {name: _summary(runs, results[peers[name]]) for name, runs in results.items()}
    _print(summary, rounds)
    figures = {
        "processed_dir": str(folder),
        "settings": {"steps": steps, "warm_up": warm_up, "rounds": rounds, "torch_threads": torch.get_num_threads()},
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
        "target_ratio": TARGET_RATIO,
        "summary": summary,
        "rounds": results,
    }
    save(json_file, ["accelerate", "lightning", PEER, "torch", "transformers"], figures)


def _ours(
    stopwatch: Stopwatch,
    folder: Path,
    base_model: str,
    batch_by: Literal["order", "pair"],
    precision: Precision,
    accelerator: str,
    seed: int,
) -> dict[str, float]:
    seed_everything(seed, verbose=False)
    batch_size = _ORDERS_A_BATCH if batch_by == "order" else _PAIRS_A_BATCH
    model = BiEncoder(
        base_model,
        max_seq_length=_MAX_SEQ_LENGTH,
        loss="multi_positive" if batch_by == "order" else "mnrl",
        temperature=1 / _SCALE,
        learning_rate=_LEARNING_RATE,
        dropout=0.0 if batch_by == "order" else None,
    )
    data = NextOrderDataModule(processed_dir=folder, batch_by=batch_by, batch_size=batch_size, seed=seed)
    data.tokenizer = model.encoder
    _transformer(model.encoder.sentence_transformer).register_forward_pre_hook(stopwatch.count_tokens)
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        max_steps=stopwatch.last,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[_LightningTimes(stopwatch)],
    )
    trainer.fit(model, data)
    return stopwatch.figures()


def _peer(
    stopwatch: Stopwatch, folder: Path, base_model: str, precision: Precision, accelerator: str, seed: int
) -> dict[str, float]:
    model = load_sentence_transformer(base_model)
    model.max_seq_length = _MAX_SEQ_LENGTH
    _transformer(model).register_forward_pre_hook(stopwatch.count_tokens)
    pairs = load_from_disk(folder / schema.TRAIN_DATASET).select_columns([schema.ANCHOR, schema.POSITIVE])
    with tempfile.TemporaryDirectory() as output_dir:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=output_dir,
            max_steps=stopwatch.last,
            per_device_train_batch_size=_PAIRS_A_BATCH,
            batch_sampler="no_duplicates",
            dataloader_drop_last=True,
            dataloader_num_workers=0,
            dataloader_pin_memory=torch.cuda.is_available(),
            learning_rate=_LEARNING_RATE,
            lr_scheduler_type="cosine",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=accelerator == "cpu",
            bf16=precision == "bf16-mixed",
            seed=seed,
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=pairs,
            loss=MultipleNegativesRankingLoss(model, scale=_SCALE),
            callbacks=[_PeerTimes(stopwatch)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return stopwatch.figures()


def _transformer(model: SentenceTransformer) -> torch.nn.Module:
    module: torch.nn.Module = model[0]
    return module


def _summary(runs: list[dict[str, float]], peer: list[dict[str, float]]) -> dict[str, float]:
    pairs, seconds = (sum(run[name] for run in runs) for name in ("pairs", "seconds"))
    ratios = [a["pairs_per_second"] / b["pairs_per_second"] for a, b in zip(runs, peer, strict=True)]
    return {
        "pairs_per_second": round(pairs / seconds, 2),
        "ratio": round(median(ratios), 2),
        "lowest_ratio": round(min(ratios), 2),
        "highest_ratio": round(max(ratios), 2),
        "tokens_per_pair": round(sum(run["tokens_per_pair"] * run["pairs"] for run in runs) / pairs, 1),
    }


def _print(summary: dict[str, dict[str, float]], rounds: int) -> None:
    table = Table(title=f"Training, {rounds} rounds in turn", title_justify="left")
    table.add_column("")
    for name in ("pairs/s", "x peer (rounds)", "tokens/pair"):
        table.add_column(name, justify="right")
    for name, values in summary.items():
        ratio = f"{values['ratio']:.1f} ({values['lowest_ratio']:.1f} to {values['highest_ratio']:.1f})"
        table.add_row(
            name,
            f"{values['pairs_per_second']:.1f}",
            "" if name in {PEER, PEER_BF16} else ratio,
            f"{values['tokens_per_pair']:.0f}",
        )
    console = Console()
    console.print(table)
    for name, values in summary.items():
        if name.startswith("orders"):
            verdict = "reached" if values["ratio"] >= TARGET_RATIO else "missed"
            console.print(f"{name}: {values['ratio']:.1f} times the peer; the aim of {TARGET_RATIO} is {verdict}.")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
