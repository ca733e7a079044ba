"""``fit``, ``validate``, ``test`` and ``predict``: LightningCLI with this project's callbacks and loggers."""

import logging
import os
import sys
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from rich.console import Console

from lit_rec import schema
from lit_rec.callbacks import LearningCurve, PredictionWriter, RetrievalEvaluation
from lit_rec.command_line import BriefErrors
from lit_rec.data.datamodule import NextOrderDataModule, locate
from lit_rec.data.settings import PrepareSettings
from lit_rec.devices import sound_precision
from lit_rec.errors import SettingError
from lit_rec.export import export_model, read_checkpoint
from lit_rec.files import check_folder, check_replaceable, read_json, write_json
from lit_rec.models.ranker_settings import RankerSettings
from lit_rec.models.two_tower import PHRASES_FROM_DATA, TwoTower
from lit_rec.pretrained import first_line
from lit_rec.quiet import quiet_lightning
from lit_rec.ranker_training import fit_ranker
from lit_rec.reports import TEST_TITLE, VALIDATION_TITLE, metrics_table, next_steps

logger = logging.getLogger(__name__)

MONITOR = "val/ndcg@10"
_CHECKPOINTS, _FINAL = "checkpoints", "final"
_TEST_METRICS = "test_metrics.json"

_TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 1,
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,  # one line: the encoder
    "num_sanity_val_steps": -1,  # a whole evaluation before the first step: the untrained model, for comparison
    "use_distributed_sampler": False,  # the samplers share out orders themselves, none twice and none lost
}


class TrainingParser(BriefErrors, LightningArgumentParser):
    """Lightning's, with errors of a line."""


class SavedConfig(SaveConfigCallback):
    """Keeps the whole configuration beside the logs, and hands it to the loggers."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand it to the loggers, once a run."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for run_logger in trainer.loggers:
            run_logger.log_hyperparams(config)


class TrainingCLI(LightningCLI):
    """The four verbs of training; ``--help`` of each shows every setting."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Settings of a run that belong to neither model, data nor trainer."""
        parser.add_argument(
            "--output_dir", type=Path, default=Path("models/run"), help="Everything that the run makes goes here."
        )
        parser.add_argument(
            "--wandb",
            type=Literal["auto", "online", "offline", "off"],
            default="auto",
            help="Weights & Biases: auto is online with an API key and offline without; off switches it off.",
        )
        parser.add_argument(
            "--early_stopping",
            type=int | None,
            default=None,
            help=f"Stop after this many evaluations without a better {MONITOR}; none never stops early.",
        )
        parser.add_argument(
            "--checkpoint_every_n_steps",
            type=int,
            default=500,
            help="How often checkpoints/last.ckpt is written, to resume a killed run from.",
        )
        parser.add_argument(
            "--ranker",
            type=RankerSettings | None,
            default=None,
            help="After fit, export the best checkpoint to final/ and train the repeat-explore ranker in it; none "
            "leaves that to the verbs export and fit_ranker.",
        )
        parser.add_argument("--predict_top_k", type=int, default=100, help="Products a query that predict writes.")

    def before_instantiate_classes(self) -> None:
        """What cannot be written is said first; names that a static encoder takes from its data are counted."""
        config = self.config[self.subcommand]
        check_folder(config.output_dir)
        if config.get("ranker") is not None:
            check_replaceable(config.output_dir / _FINAL, schema.MODEL_RECORD)
        if config.model.phrases_from == PHRASES_FROM_DATA:
            options = {name: config.data[name] for name in ("processed_dir", "source", "data_dir", "output_dir")}
            sizes = {name: config.data[name] for name in ("n_users", "n_products")}
            folder = locate(PrepareSettings(**vars(config.data.prepare)), **options, **sizes)
            config.model.phrases_from = str(folder)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # noqa: ANN401 - Lightning's signature
        """Build the trainer with what the run needs and what this machine does well."""
        asked = self._get(self.config_init, "trainer")
        if asked["precision"] is None:
            kwargs["precision"] = sound_precision(asked["accelerator"])
        kwargs["enable_progress_bar"] = asked["enable_progress_bar"] is not False and sys.stderr.isatty()
        kwargs["default_root_dir"] = asked["default_root_dir"] or self.output_dir
        if asked["logger"] in (None, True):
            kwargs["logger"] = self._loggers()
        given = asked["callbacks"] or []
        kwargs["callbacks"] = [*(given if isinstance(given, list) else [given]), *self._callbacks(kwargs)]
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, MisconfigurationException) as error:  # such as --trainer.devices 8 where there is one
            raise SettingError("These settings of the trainer do not work here", first_line(error)) from error

    @property
    def output_dir(self) -> Path:
        """Where the run goes."""
        folder: Path = self._get(self.config_init, "output_dir")
        return folder

    def _loggers(self) -> list[Logger]:
        if self.subcommand != "fit":
            return []
        loggers: list[Logger] = [CSVLogger(self.output_dir, name="logs")]
        if (mode := self._wandb_mode()) != "off":
            self.output_dir.mkdir(parents=True, exist_ok=True)
            name = self.output_dir.name
            loggers.append(
                WandbLogger(
                    project="lit_rec", name=name, save_dir=self.output_dir, offline=mode == "offline", mode=mode
                )
            )
        return loggers

    def _wandb_mode(self) -> str:
        asked: str = self._get(self.config_init, "wandb")
        if asked != "auto":
            return asked
        if mode := os.environ.get("WANDB_MODE"):
            return {"disabled": "off"}.get(mode, mode)
        return "online" if _has_wandb_key() else "offline"

    def _callbacks(self, trainer_options: dict[str, Any]) -> list[Callback]:
        folder = self.output_dir / _CHECKPOINTS
        options: dict[str, Any] = {"dirpath": folder, "auto_insert_metric_name": False, "enable_version_counter": False}
        self.evaluation = RetrievalEvaluation()
        every = self._get(self.config_init, "checkpoint_every_n_steps")
        callbacks: list[Callback] = [
            self.evaluation,
            LearningCurve(self.evaluation),
            PredictionWriter(self._get(self.config_init, "predict_top_k")),
        ]
        if self.subcommand != "fit":
            return callbacks
        callbacks += [
            ModelCheckpoint(filename="best", monitor=MONITOR, mode="max", **options),
            ModelCheckpoint(filename="last", every_n_train_steps=every, **options),
            ModelCheckpoint(filename="last", every_n_epochs=1, save_on_train_epoch_end=True, **options),
        ]
        if trainer_options.get("logger"):
            callbacks.append(LearningRateMonitor())
        if (patience := self._get(self.config_init, "early_stopping")) is not None:
            callbacks.append(EarlyStopping(MONITOR, mode="max", patience=patience))
        return callbacks

    def before_fit(self) -> None:
        """Say what is about to happen, and where an earlier run could go on."""
        trainer = self.trainer
        device = trainer.strategy.root_device
        logger.info(
            "Training on %s x %s in %s, into %s", trainer.world_size, device, trainer.precision, self.output_dir
        )
        if self._checkpoint is not None:
            trainer.num_sanity_val_steps = 0  # the model is not untrained any more
        last = self.output_dir / _CHECKPOINTS / "last.ckpt"
        if self._checkpoint is None and last.exists():
            logger.info("A run was here before; to go on with it: --ckpt_path %s", last)

    def after_fit(self) -> None:
        """Print the curve as a table, and what to do next."""
        logs = self.trainer.log_dir  # exchanged between the processes, so all must ask
        if not self.trainer.is_global_zero or not self.trainer.checkpoint_callbacks:
            return  # in a fast_dev_run there is nothing to go on with
        self._print_table(VALIDATION_TITLE)
        settings: RankerSettings | None = self._get(self.config_init, "ranker")
        best = self.output_dir / _CHECKPOINTS / "best.ckpt"
        best = best if best.exists() else best.with_name("last.ckpt")  # without validation there is no best one
        if settings is not None:
            self._fit_ranker(best, settings)
            return
        next_steps(
            f"python -m lit_rec test --config {logs}/config.yaml --ckpt_path {best}",
            self._export_command(best),
            f"Learning curve: {self.output_dir / 'learning_curve.png'}",
        )

    def _fit_ranker(self, best: Path, settings: RankerSettings) -> None:
        model_dir = export_model(best, self.output_dir / _FINAL, ranker_follows=True)
        data: NextOrderDataModule = self.datamodule
        assert data.folder is not None, "fit has opened it"
        metrics = fit_ranker(data.folder, model_dir, settings)
        if metrics:
            Console().print(metrics_table({"text alone": self.evaluation.best, "ranker": metrics}, VALIDATION_TITLE))
        next_steps(
            f"python -m lit_rec evaluate --model_dir {model_dir} --processed_dir {data.folder.path} --split all "
            "--baselines popularity recency_frequency tifu_knn",
            f"python -m lit_rec recommend --model_dir {model_dir} --processed_dir {data.folder.path} --n_samples 3",
            f"Learning curve: {self.output_dir / 'learning_curve.png'}",
        )

    def before_validate(self) -> None:
        """Leave the printing to the table below."""
        self.config_init[self.subcommand]["verbose"] = False

    before_test = before_validate

    def after_validate(self) -> None:
        """Print the metrics."""
        self._print_table(VALIDATION_TITLE)
        next_steps(
            *([self._export_command(self._checkpoint)] if self._checkpoint else []), "python -m lit_rec fit --help"
        )

    def after_test(self) -> None:
        """Print the metrics beside those of earlier tests into the same folder, and keep them."""
        if not self.trainer.is_global_zero or "test" not in self.evaluation.results:
            return  # under a spawning strategy the results stay in the processes that made them
        file = self.output_dir / _TEST_METRICS
        results: dict[str, dict[str, float]] = read_json(file) if file.exists() else {}
        tested = str(self._checkpoint or f"untrained {self.model.hparams['base_model']}")
        results[tested] = self.evaluation.results["test"]
        write_json(file, results, indent=2)
        Console().print(metrics_table(results, TEST_TITLE))
        figures = f"The figures are in {file}"
        next_steps(*([self._export_command(self._checkpoint)] if self._checkpoint else []), figures)

    def after_predict(self) -> None:
        """Say where the predictions are."""
        next_steps(f"Predictions: {self.output_dir / 'predictions'}/part-*.parquet")

    def _export_command(self, checkpoint: str | Path) -> str:
        return f"python -m lit_rec export --ckpt_path {checkpoint} --output_dir {self.output_dir / _FINAL}"

    def _print_table(self, title: str) -> None:
        if self.trainer.is_global_zero and self.evaluation.results:
            Console().print(metrics_table(self.evaluation.results, title))

    @property
    def _checkpoint(self) -> str | None:
        path: str | None = self._get(self.config_init, "ckpt_path")
        return path


def _has_wandb_key() -> bool:
    """Whether the environment names a key, or ``wandb login`` has left one; wandb itself is not asked.

    Asked before a run, it would settle on the mode of that moment.
    """
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        return netrc().authenticators(host or "") is not None
    except (OSError, NetrcParseError):
        return False


def run(args: ArgsType = None) -> TrainingCLI:
    """Parse and run one of the four verbs.

    Args:
        args: command line after the program's name; None for the process's own.

    Raises:
        ModelFolderError: the checkpoint named is not there, or damaged.
    """
    quiet_lightning()
    words = sys.argv[1:] if args is None else args
    if isinstance(words, list):
        _check_checkpoint(words)
    return TrainingCLI(
        TwoTower,
        NextOrderDataModule,
        save_config_callback=SavedConfig,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=42,
        trainer_defaults=_TRAINER_DEFAULTS,
        parser_class=TrainingParser,
        parser_kwargs={"prog": "python -m lit_rec"},
        args=args,
    )


def _check_checkpoint(words: list[str]) -> None:
    """A path that is not there is an error; one that is there brings its own model settings along."""
    joined = [word.partition("=") for word in words]
    following = [*words[1:], ""]
    paths = [value or after for (name, _, value), after in zip(joined, following, strict=True) if name == "--ckpt_path"]
    for path in filter(None, paths):
        if path not in {"best", "last", "hpc", "registry", "null"}:
            read_checkpoint(Path(path))  # says what is wrong with it
    if paths and (overruled := [name for name, _, _ in joined if name.startswith("--model.")]):
        logger.warning("The checkpoint's own model settings are used; these are ignored: %s", " ".join(overruled))
