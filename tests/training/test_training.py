import csv
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback
from torch import Tensor

from lit_rec.cli.main import main
from lit_rec.core.errors import CheckpointError, NotPreparedError, SettingError
from lit_rec.data.dataset import TokenCache
from lit_rec.data.prepare import prepare
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.settings import PrepareSettings, RawData
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.ranking.settings import RankerSettings
from lit_rec.training import lightning_cli, loggers
from lit_rec.training.lightning_cli import TrainingCLI

FIT = [
    *("--model.max_seq_length", "64"),
    *("--model.dropout", "0"),
    *("--model.learning_rate", "1e-2"),
    *("--data.batch_size", "16"),
    *("--data.eval_batch_size", "256"),
    *("--trainer.max_epochs", "3"),
    *("--trainer.accelerator", "cpu"),
    *("--trainer.precision", "32-true"),
    *("--trainer.enable_model_summary", "false"),
    *("--trainer.log_every_n_steps", "1"),
    *("--checkpoint_every_n_steps", "3"),
    *("--wandb", "off"),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """A model this small is slower with more, and its sums are the same in every run."""
    torch.set_num_threads(1)


class KeepCheckpoints(Callback):
    """Copies what a run that is killed at the start of epoch 1 or of a batch within it would leave behind."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.current_epoch == 1 and batch_idx in (0, 5):
            for file in (Path(trainer.default_root_dir) / "checkpoints").glob("*.ckpt"):
                shutil.copy(file, file.parent.parent / f"batch{batch_idx}_{file.name}")


class KillItself(Callback):
    """As a spot machine does: no farewell."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.current_epoch == 1 and batch_idx == 5:
            os.kill(os.getpid(), signal.SIGKILL)


class SignalItself(Callback):
    """As a scheduler or Ctrl-C does, once, in a place that the environment names."""

    def _signal(self, place: str, trainer) -> None:
        if os.environ["SIGNAL_AT"] == place and trainer.global_step in (0, 13, 16):
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))

    def on_sanity_check_start(self, trainer, pl_module) -> None:
        self._signal("sanity check", trainer)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == 13:
            self._signal("step", trainer)

    def on_validation_start(self, trainer, pl_module) -> None:
        if trainer.global_step == 16:
            self._signal("evaluation", trainer)


class NotePairs(Callback):
    """Writes down each pair that this process trains on: the context's tokens and the product's place."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        contexts = []
        for chunk in batch["anchor"]:
            lengths = chunk["attention_mask"].sum(1).tolist()
            contexts += [ids[:length] for ids, length in zip(chunk["input_ids"].tolist(), lengths, strict=True)]
        products = batch["product_position"][batch["product_index"]].tolist()
        file = Path(trainer.default_root_dir) / f"pairs-{trainer.current_epoch}-{trainer.global_rank}.jsonl"
        with file.open("a") as stream:
            for anchor, product in zip(batch["anchor_index"].tolist(), products, strict=True):
                stream.write(json.dumps([contexts[anchor], product]) + "\n")


def run_in_process(commands: list[list[str]], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    for words in commands:
        main(words)


def ended_in_processes(commands: list[list[str]], environments: list[dict[str, str]]) -> list[int | None]:
    """Exit codes of processes that run the same commands; as torchrun starts them where there are several."""
    processes = [get_context("spawn").Process(target=run_in_process, args=(commands, e)) for e in environments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=200)
        process.kill()
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def base(tiny_model: Path, processed_dir: Path) -> list[str]:
    return ["--model.base_model", str(tiny_model), "--data.processed_dir", str(processed_dir), *FIT]


@pytest.fixture(scope="module")
def whole_run(base: list[str], tmp_path_factory: pytest.TempPathFactory) -> TrainingCLI:
    """Three epochs, uninterrupted."""
    words = [
        "--output_dir",
        str(tmp_path_factory.mktemp("whole")),
        "--trainer.callbacks+=test_training.KeepCheckpoints",
    ]
    cli = main(["fit", *base, *words])
    assert isinstance(cli, TrainingCLI)
    return cli


def weights(file: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(file, weights_only=True)["state_dict"]
    return state


def assert_same_run(resumed: TrainingCLI, whole: TrainingCLI) -> None:
    last, expected = (weights(cli.output_dir / "checkpoints" / "last.ckpt") for cli in (resumed, whole))
    assert last.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(last[name], tensor)] == []
    assert resumed.trainer.global_step == whole.trainer.global_step
    assert resumed.evaluation.results == whole.evaluation.results


def test_the_best_checkpoint_is_that_of_the_best_epoch(whole_run: TrainingCLI, base: list[str], capsys) -> None:
    results = dict(whole_run.evaluation.results)
    assert list(results) == ["untrained", "epoch 0", "epoch 1", "epoch 2"]
    untrained = results.pop("untrained")
    best = max(results, key=lambda epoch: results[epoch]["ndcg@10"])
    checkpoints = whole_run.output_dir / "checkpoints"
    assert {file.name for file in checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
    found = torch.load(checkpoints / "best.ckpt", weights_only=True)
    assert f"epoch {found['epoch']}" == best
    assert found["global_step"] == results[best]["step"]
    assert torch.load(checkpoints / "last.ckpt", weights_only=True)["global_step"] == results["epoch 2"]["step"] == 24
    assert results[best]["ndcg@10"] > untrained["ndcg@10"]

    words = ["--ckpt_path", str(checkpoints / "best.ckpt"), "--output_dir", str(whole_run.output_dir / "validated")]
    validated = main(["validate", *of_validate(base), *words])
    assert validated.trainer.callback_metrics["val/ndcg@10"].item() == pytest.approx(results[best]["ndcg@10"], abs=1e-6)
    assert list(validated.evaluation.results) == [best]  # it names the checkpoint's epoch, not the trainer's
    assert "ndcg@10" in capsys.readouterr().out


def of_validate(base: list[str]) -> list[str]:
    """The same settings for the commands that do not train."""
    pairs = zip(base[::2], base[1::2], strict=True)
    return [word for name, value in pairs if not name.startswith("--model.") for word in (name, value)]


@pytest.mark.parametrize("checkpoint", ["batch5_last", "batch0_last", "batch0_best"])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(
    checkpoint: str, whole_run: TrainingCLI, base: list[str], tmp_path: Path
) -> None:
    """In mid-epoch after two of eight batches, at the end of an epoch, and from the best checkpoint so far."""
    file = whole_run.output_dir / f"{checkpoint}.ckpt"
    assert torch.load(file, weights_only=True)["global_step"] == (12 if checkpoint == "batch5_last" else 8)
    resumed = main(["fit", *base, "--output_dir", str(tmp_path), "--ckpt_path", str(file)])
    assert_same_run(resumed, whole_run)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_killed_run_goes_on_where_it_was(whole_run: TrainingCLI, base: list[str], tmp_path: Path) -> None:
    words = ["fit", *base, "--output_dir", str(tmp_path), "--trainer.callbacks+=test_training.KillItself"]
    assert ended_in_processes([words], [{}]) == [-signal.SIGKILL]
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 12
    resumed = main(["fit", *base, "--output_dir", str(tmp_path), "--ckpt_path", str(last)])
    assert_same_run(resumed, whole_run)


def run_as_a_program(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Its end and what it prints; its callbacks may be of this module."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "lit_rec", *words],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.slow  # two programs of their own
@pytest.mark.parametrize(("number", "place", "step"), [(signal.SIGTERM, "step", 14), (signal.SIGINT, "evaluation", 16)])
def test_a_run_that_is_told_to_end_names_the_command_that_goes_on_as_if_nothing_had_been(
    number: int, place: str, step: int, whole_run: TrainingCLI, base: list[str], tmp_path: Path
) -> None:
    words = ["fit", *base, "--output_dir", str(tmp_path), "--checkpoint_every_n_steps", "1000"]
    signalled = ["--trainer.callbacks+=test_training.SignalItself"]
    ended = run_as_a_program([*words, *signalled], SIGNAL=str(int(number)), SIGNAL_AT=place)
    assert ended.returncode == 128 + number, ended.stderr
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step
    (command,) = [line.strip() for line in ended.stderr.splitlines() if line.startswith("  python -m lit_rec fit")]
    resumed = main([word for word in shlex.split(command)[3:] if word not in signalled])
    assert_same_run(resumed, whole_run)


@pytest.mark.slow  # a program of its own
def test_a_run_that_is_told_to_end_before_its_first_step_ends_at_once(base: list[str], tmp_path: Path) -> None:
    words = ["fit", *base, "--output_dir", str(tmp_path), "--trainer.callbacks+=test_training.SignalItself"]
    ended = run_as_a_program(words, SIGNAL=str(int(signal.SIGTERM)), SIGNAL_AT="sanity check")
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert ended.stderr.splitlines()[-1] == "Interrupted; nothing half-written is left behind."
    assert not list(tmp_path.glob("checkpoints/*"))


def test_the_curves_are_in_a_csv(whole_run: TrainingCLI) -> None:
    (file,) = whole_run.output_dir.glob("logs/*/metrics.csv")
    header, *lines = (line.split(",") for line in file.read_text().splitlines())
    rows = [{name: value for name, value in zip(header, line, strict=True) if value} for line in lines]
    losses = {int(row["step"]): float(row["train/loss"]) for row in rows if "train/loss" in row}
    assert list(losses) == list(range(24))
    curve = [float(row["val/ndcg@10"]) for row in rows if "val/ndcg@10" in row]
    assert curve == pytest.approx([result["ndcg@10"] for result in whole_run.evaluation.results.values()])
    rates = [float(row["lr-AdamW"]) for row in rows if "lr-AdamW" in row]
    assert len(rates) == 24
    assert max(rates) == pytest.approx(1e-2)


def test_no_wandb_where_it_is_off_and_an_offline_run_where_asked(
    whole_run: TrainingCLI, base: list[str], tmp_path: Path, monkeypatch
) -> None:
    assert not (whole_run.output_dir / "wandb").exists()
    monkeypatch.setenv("WANDB_SILENT", "true")
    words = ["--wandb", "offline", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    main(["fit", *base, *words, "--output_dir", str(tmp_path)])
    import wandb

    wandb.finish()
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(run.glob("run-*.wandb"))
    assert list(run.glob("files/media/table/samples*.json")), "recommendations of some queries"


def test_each_test_keeps_its_row(
    whole_run: TrainingCLI, base: list[str], tiny_model: Path, tmp_path: Path, capsys
) -> None:
    words = [*of_validate(base), "--output_dir", str(tmp_path)]
    main(["test", *words, "--model.base_model", str(tiny_model), "--model.max_seq_length", "64"])
    capsys.readouterr()
    best = str(whole_run.output_dir / "checkpoints" / "best.ckpt")
    main(["test", *words, "--ckpt_path", best])
    kept = json.loads((tmp_path / "test_metrics.json").read_text())
    assert list(kept) == [f"untrained {tiny_model}", best]
    assert kept[best]["n_queries"] > 0
    assert kept[best]["ndcg@10"] != kept[f"untrained {tiny_model}"]["ndcg@10"]
    shown = capsys.readouterr().out
    assert all(f"{result['ndcg@10']:.4f}" in shown for result in kept.values())


def test_the_commands_named_at_the_end_of_fit_run_as_they_are(base: list[str], tmp_path: Path, capsys) -> None:
    main(["fit", *base, *FIT, "--trainer.max_epochs", "1", "--output_dir", str(tmp_path)])
    printed = capsys.readouterr().out
    commands = [line.split()[3:] for line in printed.splitlines() if line.strip().startswith("python -m lit_rec")]
    assert [command[0] for command in commands] == ["test", "export"]
    for command in commands:
        main(command)
    assert (tmp_path / "test_metrics.json").is_file()
    assert (tmp_path / "final" / "lit_rec.json").is_file()


def test_fast_dev_run_leaves_nothing_and_says_what_was_run(base: list[str], tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "lit_rec")
    words = ["--trainer.fast_dev_run", "true", "--output_dir", str(tmp_path / "run")]
    cli = main(["fit", *base, *words])
    assert cli.trainer.global_step == 1
    assert caplog.messages[-1] == "fast_dev_run: fit ran without an error on one batch of each kind; nothing was kept"
    for command in ("test", "predict"):  # of a part of the catalogue
        main([command, *of_validate(base), *words, "--model.base_model", base[1], "--model.max_seq_length", "64"])
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.name != "config.yaml"]


def test_a_part_of_the_catalogue_is_not_evaluated_as_if_it_were_all(base: list[str], tmp_path: Path) -> None:
    words = ["--output_dir", str(tmp_path), "--data.eval_batch_size", "16", "--trainer.limit_val_batches", "2"]
    with pytest.raises(SettingError, match=r"whole catalogue: a limit leaves 2 of its 13 batches.*eval_queries"):
        main(["fit", *base, *words])


@pytest.mark.filterwarnings("ignore:`ModelCheckpoint.monitor='val/ndcg@10'.` could not find the monitored key")
def test_the_overfit_preset_lowers_the_loss_on_a_config_that_stops_early(
    base: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lit_rec")
    words = ["--config", "configs/complete_journey.yaml", "--config", "configs/presets/overfit.yaml", *base]
    main(["fit", *words, "--trainer.max_epochs", "12", "--output_dir", str(tmp_path)])
    (metrics,) = tmp_path.glob("logs/*/metrics.csv")
    losses = [float(row["train/loss"]) for row in csv.DictReader(metrics.read_text().splitlines()) if row["train/loss"]]
    assert losses[-1] < losses[0] / 2
    steps = len(losses) // 12
    means = [float(line.rpartition(" ")[2]) for line in caplog.messages if "mean training loss" in line]
    assert means == pytest.approx([sum(losses[e * steps : (e + 1) * steps]) / steps for e in range(12)], abs=1e-4)
    assert (tmp_path / "learning_curve.png").stat().st_size > 10_000


def test_early_stopping(base: list[str], tmp_path: Path) -> None:
    """At a rate of 0 no epoch is better than the first."""
    words = ["--model.learning_rate", "0", "--early_stopping", "1", "--trainer.max_epochs", "6"]
    words += ["--trainer.limit_train_batches", "1", "--trainer.logger", "false"]
    cli = main(["fit", *base, *words, "--output_dir", str(tmp_path)])
    assert list(cli.evaluation.results) == ["untrained", "epoch 0", "epoch 1"]


def test_fit_prepares_a_raw_source_by_itself(tiny_model: Path, tmp_path: Path) -> None:
    words = ["--data.source", "synthetic", "--data.data_dir", str(tmp_path / "raw"), "--data.n_users", "40"]
    words += ["--data.n_products", "80", "--data.output_dir", str(tmp_path / "made"), "--data.prepare.eval_frac", "0.5"]
    words += ["--trainer.fast_dev_run", "true", "--output_dir", str(tmp_path / "run")]
    cli = main(["fit", "--model.base_model", str(tiny_model), *FIT, *words])
    (made,) = (tmp_path / "made").glob("[!.]*")
    assert made.name == "synthetic_p5_mp20_ef0.5"
    assert cli.datamodule.folder.path == made
    assert cli.trainer.global_step == 1


def test_best_and_last_name_the_runs_own_checkpoints(whole_run: TrainingCLI, base: list[str]) -> None:
    for name, epoch in (("last", 2), ("best", None)):
        words = ["--output_dir", str(whole_run.output_dir), "--ckpt_path", name]
        validated = main(["validate", *of_validate(base), *words])
        assert validated.model.hparams["max_seq_length"] == 64, "its own settings, not the command's defaults"
        expected = whole_run.evaluation.best() if epoch is None else whole_run.evaluation.results[f"epoch {epoch}"]
        measured = validated.trainer.callback_metrics["val/ndcg@10"].item()
        assert measured == pytest.approx(expected["ndcg@10"], abs=1e-6)


def test_an_older_runs_checkpoints_are_kept_and_not_taken_for_this_runs(
    base: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys
) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "checkpoints" / name).write_text("of an older run")
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "0"]
    with caplog.at_level(logging.INFO, logger="lit_rec"):
        main(["fit", *base, *short, "--output_dir", str(tmp_path)])
    assert {file.name for file in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt"}
    assert "checkpoints/last.ckpt" in capsys.readouterr().out
    assert {file.read_text() for file in (tmp_path / "checkpoints.1").iterdir()} == {"of an older run"}
    assert f"--ckpt_path {tmp_path / 'checkpoints.1' / 'last.ckpt'}" in caplog.text


def test_one_seed_acts_on_the_data_and_the_ranker_unless_they_have_their_own(base: list[str], tmp_path: Path) -> None:
    def trained(*seeds: str) -> TrainingCLI:
        cli = main(["fit", *base, "--trainer.fast_dev_run", "true", "--output_dir", str(tmp_path), *seeds])
        assert isinstance(cli, TrainingCLI)
        return cli

    def same(a: TrainingCLI, b: TrainingCLI) -> bool:
        pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
        return all(torch.equal(x, y) for x, y in pairs)

    one = trained("--seed_everything", "1", "--ranker.max_epochs", "1")
    assert not same(one, trained("--seed_everything", "2"))
    assert same(one, trained("--seed_everything", "2", "--data.seed", "1"))
    assert one._ranker_settings == RankerSettings(max_epochs=1, seed=1)
    assert trained("--seed_everything", "1", "--ranker.seed", "7")._ranker_settings == RankerSettings(seed=7)


@pytest.mark.parametrize(
    "words",
    [
        ["--ckpt_path", "no/such.ckpt"],
        ["--ckpt_path=no/such.ckpt"],
        ["--ckpt_path=best", "--output_dir", "no/such"],
        ["--ckpt_path=last", "--output_dir", "no/such"],
    ],
)
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_checkpoint_that_is_not_there_is_named(command: str, words: list[str], base: list[str]) -> None:
    with pytest.raises(CheckpointError, match=r"No checkpoint at no/such(/checkpoints/(best|last))?\.ckpt"):
        main([command, *words])


def test_a_checkpoint_without_a_path_ends_with_usage(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--ckpt_path"])
    assert ended.value.code == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_model_flags_beside_a_checkpoint_are_said_to_be_ignored(
    whole_run: TrainingCLI, base: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    best = str(whole_run.output_dir / "checkpoints" / "best.ckpt")
    words = ["--ckpt_path", best, "--model.temperature=0.5", "--output_dir", str(tmp_path)]
    with caplog.at_level(logging.WARNING, logger="lit_rec"):
        cli = main(["validate", *of_validate(base), *words])
    assert "--model.temperature" in caplog.text
    assert cli.model.hparams["temperature"] == pytest.approx(1 / 30)


# Two processes.


@pytest.fixture(scope="module")
def two_processes(base: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One fit of an epoch, a test and a prediction, each in two processes with half the batch size."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--output_dir", str(folder)]
    fit = [*base, *two, "--data.batch_size", "8", "--trainer.max_epochs", "1"]
    last = ["--ckpt_path", str(folder / "checkpoints" / "last.ckpt")]
    commands = [
        ["fit", *fit, "--trainer.callbacks+=test_training.NotePairs"],
        ["test", *of_validate(base), *two, *last],
        ["predict", *of_validate(base), *two, *last, "--predict_top_k", "5"],
    ]
    ended = ended_in_processes(commands, [{**common, "RANK": str(r), "LOCAL_RANK": str(r)} for r in range(2)])
    assert ended == [0, 0]
    return folder


@pytest.fixture(scope="module")
def one_process(base: list[str], tmp_path_factory: pytest.TempPathFactory) -> TrainingCLI:
    cli = main(["fit", *base, "--trainer.max_epochs", "1", "--output_dir", str(tmp_path_factory.mktemp("one"))])
    assert isinstance(cli, TrainingCLI)
    return cli


def test_two_processes_train_on_each_pair_once(two_processes: Path, processed_dir: Path, tiny_model: Path) -> None:
    encoder = BiEncoder(str(tiny_model), max_seq_length=64).encoder
    pairs = TokenCache(ProcessedFolder(processed_dir), encoder).training_pairs()
    expected: Counter[tuple[Any, ...]] = Counter()
    for order in range(len(pairs.anchors)):
        context = tuple(pairs.anchors.ids[pairs.anchors.starts[order] : pairs.anchors.starts[order + 1]].tolist())
        start, end = pairs.order_start[order], pairs.order_start[order + 1]
        expected.update((context, product) for product in pairs.pair_product[start:end].tolist())
    shares = []
    for rank in range(2):
        lines = map(json.loads, (two_processes / f"pairs-0-{rank}.jsonl").read_text().splitlines())
        shares.append(Counter((tuple(context), product) for context, product in lines))
    assert shares[0] + shares[1] == expected
    assert min(share.total() for share in shares) > expected.total() / 3


def test_two_processes_end_with_the_weights_of_one(
    two_processes: Path, one_process: TrainingCLI, tiny_model: Path
) -> None:
    """Sums in another order differ in the last bit, which Adam carries on: compared with how far training went."""
    start = BiEncoder(str(tiny_model), max_seq_length=64).state_dict()
    two = weights(two_processes / "checkpoints" / "last.ckpt")
    one = weights(one_process.output_dir / "checkpoints" / "last.ckpt")

    def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
        return torch.cat([(a[name] - b[name]).flatten() for name in a]).norm().item()

    assert distance(one, start) > 1
    assert distance(two, one) < distance(one, start) / 1000


def test_two_processes_measure_what_one_does(
    two_processes: Path, base: list[str], tmp_path: Path, tiny_model: Path
) -> None:
    last = str(two_processes / "checkpoints" / "last.ckpt")
    words = [*of_validate(base), "--output_dir", str(tmp_path), "--ckpt_path", last]
    validated = main(["validate", *words]).trainer.callback_metrics
    (file,) = two_processes.glob("logs/*/metrics.csv")
    header, *lines = (line.split(",") for line in file.read_text().splitlines())
    of_two = [dict(zip(header, line, strict=True)) for line in lines if line[header.index("val/ndcg@10")]][-1]
    names = [name for name in validated if name.startswith("val/")]
    assert len(names) > 20
    assert {n: float(of_two[n]) for n in names} == pytest.approx({n: validated[n].item() for n in names}, abs=1e-5)

    main(["test", *words])
    kept, (of_two,) = (json.loads((f / "test_metrics.json").read_text()).values() for f in (tmp_path, two_processes))
    assert of_two == pytest.approx(next(iter(kept)), abs=1e-5)


def test_two_processes_predict_each_query_once(two_processes: Path, processed_dir: Path) -> None:
    import pyarrow.parquet as pq

    parts = sorted((two_processes / "predictions").iterdir())
    assert [part.name for part in parts] == ["part-00000.parquet", "part-00001.parquet"]
    shares = [pq.read_table(part)["query_id"].to_pylist() for part in parts]
    assert min(map(len, shares)) > 0
    assert Counter(shares[0] + shares[1]) == dict.fromkeys(ProcessedFolder(processed_dir).queries, 5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_after_training_in_two_processes_one_of_them_trains_the_ranker(
    strategy: str, base: list[str], tmp_path: Path
) -> None:
    words = ["fit", *base, "--output_dir", str(tmp_path), "--trainer.max_epochs", "1", "--trainer.devices", "2"]
    ranker = ["--ranker.max_epochs", "1", "--ranker.ensemble_size", "1", "--ranker.hidden_size", "8"]
    ended = run_as_a_program([*words, "--trainer.strategy", strategy, *ranker])
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "final" / "ranker.safetensors").is_file()


def test_without_held_out_users_fit_trains_and_takes_the_last_checkpoint(
    base: list[str], raw_dir: Path, tmp_path: Path, capsys
) -> None:
    folder = prepare(RawData("instacart", raw_dir, tmp_path / "made"), PrepareSettings(eval_frac=0))
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--early_stopping", "1"]
    main(["fit", *base, *short, "--data.processed_dir", str(folder), "--output_dir", str(tmp_path / "run")])
    assert [file.name for file in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.ckpt"]
    assert f"export --ckpt_path {tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}" in capsys.readouterr().out


def test_baskets_that_are_not_there_are_said_before_anything_is_prepared(base: list[str], tmp_path: Path) -> None:
    words = ["--output_dir", str(tmp_path / "run"), "--ranker.auxiliary_orders", str(tmp_path / "none.parquet")]
    with pytest.raises(NotPreparedError, match="No auxiliary orders at"):
        main(["fit", *base, *words])


@pytest.mark.parametrize(
    ("said", "mode"), [("Offline", "offline"), ("DRYRUN", "offline"), ("disabled", "off"), ("of", "offline")]
)
def test_wandb_mode_is_read_in_any_case(said: str, mode: str, base: list[str], tmp_path: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(lightning_cli, "wandb_loggers", lambda folder, mode: seen.append(mode) or [])
    monkeypatch.setenv("WANDB_MODE", said)
    main(["fit", *base, "--wandb", "auto", "--trainer.fast_dev_run", "true", "--output_dir", str(tmp_path)])
    assert seen == [mode]


def test_wandb_that_refuses_is_offline_and_where_it_cannot_write_off(tmp_path: Path, monkeypatch, caplog) -> None:
    import wandb

    def refuse(**options: Any) -> None:
        raise wandb.errors.CommError("no such host") if options["mode"] == "online" else OSError("read-only")

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "init", refuse)
    with caplog.at_level(logging.WARNING, logger="lit_rec"):
        assert loggers.wandb_loggers(tmp_path, "online") == []
    assert "Weights & Biases is offline: no such host" in caplog.text
    assert "Weights & Biases is off" in caplog.text


@pytest.mark.parametrize(
    ("key", "login", "mode"), [(None, None, "offline"), ("k" * 40, None, "online"), (None, "k", "online")]
)
def test_wandb_is_online_with_a_key_and_offline_without(key, login, mode, base, tmp_path: Path, monkeypatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    if login is not None:
        (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {login}\n")
        (tmp_path / ".netrc").chmod(0o600)
    assert loggers.has_wandb_key() == (mode == "online")


def test_a_machine_without_a_key_trains_with_wandb_offline(base: list[str], tmp_path: Path) -> None:
    """In a process of its own, with nothing in the environment that tells wandb what to do."""
    words = [
        *base[:4],
        "--model.max_seq_length",
        "64",
        "--output_dir",
        str(tmp_path / "run"),
        "--trainer.max_steps",
        "1",
    ]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "lit_rec", "fit", *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_a_base_model_is_recorded_by_its_whole_path(
    tiny_model: Path, base: list[str], tmp_path: Path, monkeypatch
) -> None:
    shutil.copytree(tiny_model, tmp_path / "bases" / "mine")
    monkeypatch.chdir(tmp_path)
    words = ["--model.base_model", "bases/mine", "--trainer.fast_dev_run", "true"]
    cli = main(["fit", *base, *words])
    assert cli.model.hparams["base_model"] == str(tmp_path / "bases" / "mine")


def test_a_run_that_goes_on_from_one_set_aside_without_a_better_epoch_takes_its_best(tmp_path: Path) -> None:
    """Its best checkpoint was renamed with the folder."""
    aside = tmp_path / "checkpoints.1"
    aside.mkdir()
    (aside / "best.ckpt").touch()
    cli = TrainingCLI.__new__(TrainingCLI)
    cli.subcommand = "fit"
    best = SimpleNamespace(best_model_path=str(tmp_path / "checkpoints" / "best.ckpt"))
    cli.config_init = {"fit": Namespace(output_dir=tmp_path, ckpt_path=str(aside / "last.ckpt"), best_checkpoint=best)}
    assert cli._best_checkpoint() == aside / "best.ckpt"


def test_validate_needs_no_place_to_write(base: list[str], whole_run: TrainingCLI) -> None:
    words = ["--ckpt_path", str(whole_run.output_dir / "checkpoints" / "best.ckpt"), "--output_dir", "/proc/nowhere"]
    assert main(["validate", *of_validate(base), *words]).trainer.callback_metrics
