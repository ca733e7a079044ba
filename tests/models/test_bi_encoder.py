import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from lit_rec.core.errors import CheckpointError, SettingError
from lit_rec.data.dataset import Batch, OrderDataset, TrainingPairs
from lit_rec.data.tokens import TokenTable
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.models.encoder import TextEncoder, split_chunks


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """A model this small is slower with more."""
    torch.set_num_threads(1)


def table_of(encoder: TextEncoder, texts: list[str]) -> TokenTable:
    rows = encoder.token_ids(texts)
    starts = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    return TokenTable(np.concatenate(rows).astype(np.int32), starts, encoder.pad_token_id)


def batch_for(model: BiEncoder) -> Batch:
    """Three orders of two products each."""
    pairs = TrainingPairs(
        anchors=table_of(model.encoder, ["[1] milk.", "[2] bread, rice; [3] milk.", "(no prior orders)."]),
        products=table_of(model.encoder, ["milk 1", "bread 2", "rice 3", "tea 4", "product 5", "department 6"]),
        pair_product=np.array([0, 1, 2, 3, 4, 5], dtype=np.int32),
        order_start=np.array([0, 2, 4, 6]),
    )
    return OrderDataset(pairs)[np.arange(3)]


class Watch(Callback):
    """The learning rate that each step takes, and its loss."""

    def __init__(self) -> None:
        self.learning_rates: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        (optimizer,) = trainer.optimizers
        self.learning_rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs: dict[str, Tensor], batch, batch_idx) -> None:
        self.losses.append(outputs["loss"].item())


def fit(model: BiEncoder, n_steps: int, epochs: int = 1, **options: object) -> Watch:
    watch = Watch()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
        **options,
    )
    batches = torch.utils.data.DataLoader([batch_for(model)] * (n_steps // epochs), batch_size=None)
    trainer.fit(model, batches)
    return watch


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_rate_warms_up_then_falls_as_a_cosine_over_all_epochs_and_the_loss_falls(tiny_model: Path) -> None:
    model = BiEncoder(str(tiny_model), max_seq_length=64, learning_rate=1e-2, warmup_frac=0.2, dropout=0.0)
    watch = fit(model, n_steps=40, epochs=2)
    warm_up = [1e-2 * step / 8 for step in range(8)]
    cosine = [1e-2 * (1 + math.cos(math.pi * step / 32)) / 2 for step in range(32)]
    assert watch.learning_rates == pytest.approx(warm_up + cosine)
    assert watch.losses[0] > 1
    assert watch.losses[-1] < watch.losses[0] / 2


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"warmup_frac": -0.1},
        {"warmup_frac": 1.1},
        {"grad_cache_size": 0},
        {"added_token_min_count": 0},
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, float], tiny_model: Path) -> None:
    with pytest.raises(SettingError, match=next(iter(settings))):
        BiEncoder(str(tiny_model), max_seq_length=64, **settings)


def test_temperature_scales_the_similarities(tiny_model: Path) -> None:
    """Without negatives of the order's own, a huge temperature makes all candidates alike: log(1 + negatives)."""
    model = BiEncoder(str(tiny_model), max_seq_length=64, temperature=1e6, dropout=0.0)
    with torch.no_grad():
        losses = model.batch_losses(batch_for(model))
    assert losses.tolist() == pytest.approx([math.log(5)] * 3, abs=1e-4)  # 6 products, of which 2 are the order's


def test_it_trains_with_its_own_dropout_and_encodes_without(tiny_model: Path) -> None:
    model = BiEncoder(str(tiny_model), max_seq_length=64)
    batch = batch_for(model)
    with torch.no_grad():
        assert not torch.equal(model(batch["anchor"]), model(batch["anchor"]))
        model.eval()
        torch.testing.assert_close(model(batch["anchor"]), model(batch["anchor"]))


def gradients_of(tiny_model: Path, rows_per_chunk: int | None, **settings: object) -> tuple[float, dict[str, Tensor]]:
    model = BiEncoder(str(tiny_model), max_seq_length=64, **settings)
    torch.manual_seed(5)
    batch = batch_for(model)
    if rows_per_chunk is not None:
        batch = batch | {name: split_chunks(batch[name], rows_per_chunk) for name in ("anchor", "product")}
    loss = model.batch_losses(batch).mean()
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_gradient_cache_changes_no_gradient(tiny_model: Path, dropout: float, checkpointing: bool) -> None:
    """With dropout too: a text is encoded again with what it was encoded with before."""
    plain_loss, plain = gradients_of(tiny_model, 2 if dropout else None, dropout=dropout)
    loss, cached = gradients_of(
        tiny_model, None, dropout=dropout, grad_cache_size=2, gradient_checkpointing=checkpointing
    )
    assert loss == pytest.approx(plain_loss, abs=1e-5)
    assert cached.keys() == plain.keys()
    assert max(gradient.abs().max().item() for gradient in plain.values()) > 1e-3
    for name, gradient in plain.items():
        torch.testing.assert_close(cached[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_fit_with_a_gradient_cache_is_the_fit_without(tiny_model: Path) -> None:
    """The trainer's clipping, accumulation and schedule see the same gradients."""

    def losses(rows: int | None) -> list[float]:
        model = BiEncoder(str(tiny_model), max_seq_length=64, learning_rate=1e-2, dropout=0.0, grad_cache_size=rows)
        return fit(model, n_steps=12, gradient_clip_val=0.1, accumulate_grad_batches=2).losses

    assert losses(1) == pytest.approx(losses(None), abs=1e-4)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_static_model_trains_and_its_checkpoint_is_bound_to_its_tokens(
    tiny_model: Path, processed_dir: Path, tmp_path: Path
) -> None:
    folder = str(shutil.copytree(processed_dir, tmp_path / "data"))
    model = BiEncoder(str(tiny_model), "static", folder, added_token_min_count=2, max_seq_length=64, learning_rate=1e-2)
    watch = fit(model, n_steps=40)
    assert watch.losses[-1] < watch.losses[0] / 2
    content: dict[str, object] = {}
    model.on_save_checkpoint(content)
    model.on_load_checkpoint(content)
    other = BiEncoder(str(tiny_model), "static", folder, added_token_min_count=3, max_seq_length=64)
    with pytest.raises(CheckpointError, match="added_tokens_from"):
        other.on_load_checkpoint(content)
    other.on_load_checkpoint({})  # of before fingerprints were kept
