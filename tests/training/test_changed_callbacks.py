"""Callbacks, the metric that chooses, and loggers, changed from YAML; checkpoints of version 0.1."""

from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from sentence_transformers import SentenceTransformer

from lit_rec.cli.main import main
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.training.learning_curve import LearningCurve
from lit_rec.training.lightning_cli import TrainingCLI


class CountBatches(Callback):
    """Somebody's own callback."""

    def __init__(self, every: int = 1) -> None:
        self.every, self.n_batches = every, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.n_batches += batch_idx % self.every == 0


CHANGED = """
output_dir: {folder}
wandb: "off"
evaluation: {{n_samples: 2}}
best_checkpoint:
  monitor: val/mean_cosine
  mode: min
  filename: least_alike
early_stopping: 3
learning_curve: null
trainer:
  accelerator: cpu
  precision: 32-true
  max_epochs: 2
  limit_train_batches: 3
  log_every_n_steps: 1
  callbacks:
  - class_path: test_changed_callbacks.CountBatches
    init_args: {{every: 2}}
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {{save_dir: {folder}, name: mine}}
"""


@pytest.fixture(scope="module")
def settings(tiny_model: Path, processed_dir: Path) -> list[str]:
    torch.set_num_threads(1)  # a model this small is slower with more
    model = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "24", "--model.learning_rate", "1e-2"]
    return [*model, "--data.processed_dir", str(processed_dir)]


@pytest.fixture(scope="module")
def changed(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> TrainingCLI:
    folder = tmp_path_factory.mktemp("changed")
    (folder / "changed.yaml").write_text(CHANGED.format(folder=folder))
    cli = main(["fit", *settings, "--config", str(folder / "changed.yaml")])
    assert isinstance(cli, TrainingCLI)
    return cli


def of_kind(cli: TrainingCLI, kind: type) -> list:
    return [callback for callback in cli.trainer.callbacks if isinstance(callback, kind)]


def test_another_metric_chooses_the_best_checkpoint_and_stops_early(changed: TrainingCLI) -> None:
    file = changed.output_dir / "checkpoints" / "least_alike.ckpt"
    results = {name: values["mean_cosine"] for name, values in changed.evaluation.results.items() if name[0] == "e"}
    assert f"epoch {torch.load(file, weights_only=True)['epoch']}" == min(results, key=results.get)
    assert changed._best_checkpoint() == file
    (stopping,) = of_kind(changed, EarlyStopping)
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("val/mean_cosine", "min", 3)
    assert changed.evaluation.n_samples == 2


def test_an_own_callback_runs_beside_ours_and_one_of_ours_is_switched_off(changed: TrainingCLI) -> None:
    (own,) = of_kind(changed, CountBatches)
    assert own.n_batches == 4
    assert of_kind(changed, LearningCurve) == []
    assert not (changed.output_dir / "learning_curve.png").exists()
    assert len(of_kind(changed, ModelCheckpoint)) == 3
    assert len(of_kind(changed, LearningRateMonitor)) == 1


def test_another_logger_takes_the_place_of_ours(changed: TrainingCLI) -> None:
    assert list(changed.output_dir.glob("mine/version_0/metrics.csv"))
    assert not (changed.output_dir / "logs").exists()
    config = yaml.safe_load((changed.output_dir / "mine" / "version_0" / "config.yaml").read_text())
    assert config["best_checkpoint"]["init_args"]["monitor"] == "val/mean_cosine"


def test_without_a_best_checkpoint_the_last_is_taken(settings: list[str], tmp_path: Path) -> None:
    short = ["--trainer.limit_train_batches", "1", "--trainer.accelerator", "cpu", "--wandb", "off"]
    short += ["--trainer.log_every_n_steps", "1", "--learning_rate_monitor", "null"]
    cli = main(["fit", *settings, *short, "--output_dir", str(tmp_path), "--best_checkpoint", "null"])
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert cli._best_checkpoint() == tmp_path / "checkpoints" / "last.ckpt"
    assert of_kind(cli, LearningRateMonitor) == []


@pytest.fixture
def former(settings: list[str], changed: TrainingCLI, tmp_path: Path) -> Path:
    """A checkpoint as version 0.1 wrote it."""
    content = torch.load(changed.output_dir / "checkpoints" / "last.ckpt", weights_only=True)
    names = {
        "added_tokens_from": "phrases_from",
        "added_token_min_count": "phrase_min_count",
        "logq_correction": "log_frequency_correction",
        "grad_cache_size": "gradient_cache_rows",
    }
    hparams = content["hyper_parameters"]
    assert set(names) < set(hparams)
    hparams = {names.get(name, name): value for name, value in hparams.items()}
    content["hyper_parameters"] = hparams | {"loss": "pair", "log_frequency_correction": 0.5, "gradient_cache_rows": 8}
    context = content["NextOrderDataModule"]["context"]
    content["NextOrderDataModule"]["context"] = {
        "name_budget" if name == "truncate" else name: "newest" if name == "truncate" else value
        for name, value in context.items()
    }
    torch.save(content, tmp_path / "former.ckpt")
    return tmp_path / "former.ckpt"


@pytest.mark.parametrize("command", ["fit", "test"])
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_checkpoint_of_version_0_1_goes_on(command: str, former: Path, processed_dir: Path, tmp_path: Path) -> None:
    options = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.log_every_n_steps", "1"]
    options += ["--output_dir", str(tmp_path / "run"), "--data.processed_dir", str(processed_dir), "--wandb", "off"]
    options += ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "3"] if command == "fit" else []
    hparams = main([command, *options, "--ckpt_path", str(former)]).model.hparams
    assert (hparams["loss"], hparams["logq_correction"], hparams["grad_cache_size"]) == ("mnrl", 0.5, 8)


def test_a_checkpoint_of_version_0_1_is_exported_and_loaded(former: Path, tmp_path: Path) -> None:
    folder = main(["export", "--ckpt_path", str(former), "--output_dir", str(tmp_path / "final")])
    record = yaml.safe_load((folder / "lit_rec.json").read_text())
    assert record["model"]["loss"] == "mnrl"
    assert record["context"]["truncate"] == "keep_recent"
    model = BiEncoder.load_from_checkpoint(former, map_location="cpu").eval()
    assert model.hparams["logq_correction"] == 0.5
    ids = torch.tensor(model.encoder.token_ids(["Milk, Bread"]))
    with torch.no_grad():
        found = model([{"input_ids": ids, "attention_mask": torch.ones_like(ids)}])
    expected = SentenceTransformer(str(folder), device="cpu").encode(["Milk, Bread"], convert_to_tensor=True)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
