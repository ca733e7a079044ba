"""``fit``, ``validate``, ``test`` and ``predict``: LightningCLI with this project's callbacks and loggers."""

import logging
import os
import shlex
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse.typing import lazy_instance
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console

from lit_rec.artifacts.model_folder import own_processed_folder, recorded_processed_folder
from lit_rec.core import schema
from lit_rec.core.bounds import PositiveInt
from lit_rec.core.devices import default_precision
from lit_rec.core.errors import SettingError, first_line
from lit_rec.core.files import check_folder, check_replaceable, read_json, write_json
from lit_rec.core.next_steps import command, print_next_steps
from lit_rec.core.parser import CommandParser
from lit_rec.core.quiet import quiet_lightning
from lit_rec.data.datamodule import NextOrderDataModule
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.settings import PrepareSettings
from lit_rec.evaluation.tables import TEST_TITLE, VALIDATION_TITLE, metrics_table, ranker_commands
from lit_rec.metrics.headline import CHOOSING_METRIC
from lit_rec.models.bi_encoder import ADDED_TOKENS_FROM_DATA, BiEncoder
from lit_rec.ranking import training as ranker_training
from lit_rec.ranking.auxiliary_orders import check_auxiliary_orders
from lit_rec.ranking.settings import RankerSettings
from lit_rec.training.checkpoint import DATA_STATE, model_settings, read_checkpoint
from lit_rec.training.export import export_model
from lit_rec.training.learning_curve import LearningCurve
from lit_rec.training.loggers import wandb_loggers, wandb_mode
from lit_rec.training.prediction_writer import PredictionWriter
from lit_rec.training.retrieval_evaluation import RetrievalEvaluation, is_fast_dev_run
from lit_rec.training.stop_on_signal import StopOnSignal

logger = logging.getLogger(__name__)

MONITOR = f"val/{CHOOSING_METRIC}"
_CHECKPOINTS, _FINAL = "checkpoints", "final"
_TEST_METRICS = "test_metrics.json"
_AS_NAMED: dict[str, Any] = {"auto_insert_metric_name": False, "enable_version_counter": False}
"""Of a checkpoint: its file has the name that is given, and an older one there is replaced."""

_TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 1,
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,  # one line: the encoder
    "num_sanity_val_steps": -1,  # a whole evaluation before the first step: the untrained model, for comparison
    "use_distributed_sampler": False,  # the samplers share out orders themselves, none twice and none lost
}


class TrainingParser(CommandParser, LightningArgumentParser):
    """Lightning's, which takes words as typed and says a mistake in a line."""


class SavedConfig(SaveConfigCallback):
    """Keeps the whole configuration beside the logs, and hands it to the loggers."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Of fit alone: the others leave no logs."""
        if stage == TrainerFn.FITTING:
            super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand it to the loggers, once a run."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for run_logger in trainer.loggers:
            run_logger.log_hyperparams(config)


class TrainingCLI(LightningCLI):
    """The four commands of training; ``--help`` of each shows every setting."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Settings of a run that belong to neither model, data nor trainer, and the callbacks that every run has.

        A callback's own settings are set below its name, such as ``best_checkpoint: {monitor: val/recall@10}``, and
        null switches it off. Further callbacks are listed in ``trainer.callbacks``.
        """
        add = parser.add_argument
        add("--output_dir", type=Path, default=Path("models/run"), help="Everything that the run makes goes here.")
        add(
            "--wandb",
            type=Literal["auto", "online", "offline", "off"],
            default="auto",
            help="Weights & Biases: auto is online with an API key and offline without; off switches it off. "
            "Other loggers are named in trainer.logger, and then take the place of it and of the CSV files.",
        )
        add(
            "--evaluation",
            type=RetrievalEvaluation,
            default=lazy_instance(RetrievalEvaluation),
            help="Metrics over the whole catalogue after each epoch.",
        )
        add(
            "--best_checkpoint",
            type=ModelCheckpoint | None,
            default=lazy_instance(ModelCheckpoint, monitor=MONITOR, mode="max", filename="best", **_AS_NAMED),
            help="Keeps the checkpoint that is best by a metric.",
        )
        add(
            "--early_stopping",
            type=PositiveInt | EarlyStopping | None,
            default=None,
            help="Stop after this many evaluations without a better metric, that of best_checkpoint; none never stops "
            "early. Or the settings of Lightning's EarlyStopping.",
        )
        add(
            "--learning_curve",
            type=LearningCurve | None,
            default=lazy_instance(LearningCurve),
            help="Draws learning_curve.png after each evaluation.",
        )
        add(
            "--learning_rate_monitor",
            type=LearningRateMonitor | None,
            default=lazy_instance(LearningRateMonitor),
            help="Logs the learning rate.",
        )
        add(
            "--checkpoint_every_n_steps",
            type=PositiveInt,
            default=500,
            help="How often checkpoints/last.ckpt is written, to resume a killed run from.",
        )
        add(
            "--ranker",
            type=RankerSettings | None,
            default=None,
            help="After fit, export the best checkpoint to final/ and train the repeat-explore ranker in it; none "
            "leaves that to the commands export and fit_ranker.",
        )
        add("--predict_top_k", type=PositiveInt, default=100, help="Products a query that predict writes.")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """A checkpoint that is named has to be there.

        Raises:
            CheckpointError: there is no such checkpoint, or it is damaged.
        """
        super().parse_arguments(parser, args)
        self._words = sys.argv[1:] if args is None else args if isinstance(args, list) else []
        config = self.config[self.config.subcommand]
        self._loaded: dict[str, Any] = {}
        if config.ckpt_path is not None:
            if config.ckpt_path in {"best", "last"}:
                config.ckpt_path = str(config.output_dir / _CHECKPOINTS / f"{config.ckpt_path}.ckpt")
            self._loaded = read_checkpoint(Path(config.ckpt_path))

    def _parse_ckpt_path(self) -> None:
        """A checkpoint brings its own model settings along; those of version 0.1 under their present names."""
        if not self._loaded:
            return
        settings = {self.config.subcommand: {"model": model_settings(self._loaded)}}
        self.config = self.parser.parse_object(settings, self.config)
        overruled = [name for name in (word.partition("=")[0] for word in self._words) if name.startswith("--model.")]
        if overruled:
            logger.warning("The checkpoint's own model settings are used; these are ignored: %s", " ".join(overruled))

    def before_instantiate_classes(self) -> None:
        """What cannot be written is said first; names that a static encoder takes from its data are counted."""
        config = self.config[self.subcommand]
        if self.subcommand != "validate":  # which writes nothing
            check_folder(config.output_dir)
        if self.subcommand == "fit" and config.ranker is not None:
            check_replaceable(config.output_dir / _FINAL, schema.MODEL_RECORD)
            if config.ranker.auxiliary_orders is not None:
                check_auxiliary_orders(config.ranker.auxiliary_orders)
        self._take_own_data(config)
        if config.model.added_tokens_from == ADDED_TOKENS_FROM_DATA:
            settings = vars(config.data) | {"prepare": PrepareSettings(**vars(config.data.prepare))}
            config.model.added_tokens_from = str(NextOrderDataModule(**settings).prepared_folder().path)

    def after_instantiate_classes(self) -> None:
        """One tokenizer for model and data, and one seed for all that is not given one of its own."""
        self.datamodule.tokenizer = self.model.encoder
        if self._get(self.config, "data").seed is None and self._seed is not None:
            self.datamodule.seed = self._seed

    @property
    def _ranker_settings(self) -> RankerSettings | None:
        settings: RankerSettings | None = self._get(self.config_init, "ranker")
        return settings if settings is None or settings.seed is not None else replace(settings, seed=self._seed)

    @property
    def _seed(self) -> int | None:
        seed: int | bool = self._get(self.config, "seed_everything")
        return None if seed is False else seed

    def _take_own_data(self, config: Any) -> None:  # noqa: ANN401 - jsonargparse's
        """Data that are not named are those that the checkpoint, or the model that is measured, was trained on."""
        data, checkpoint = config.data, config.ckpt_path
        if data.processed_dir is not None or data.source is not None or (self.subcommand == "fit" and not checkpoint):
            return
        if checkpoint:
            own = recorded_processed_folder(checkpoint, self._loaded[DATA_STATE])
        else:
            own = own_processed_folder(config.model.base_model)
        if own is not None:
            logger.info("Using %s, which %s was trained on", own.path, checkpoint or config.model.base_model)
            data.processed_dir = own.path

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # noqa: ANN401 - Lightning's signature
        """Build the trainer with what the run needs and what this machine does well."""
        asked = self._get(self.config_init, "trainer")
        if asked["precision"] is None:
            kwargs["precision"] = default_precision(asked["accelerator"])
        kwargs["enable_progress_bar"] = asked["enable_progress_bar"] is not False and sys.stderr.isatty()
        kwargs["default_root_dir"] = asked["default_root_dir"] or self.output_dir
        loggers = asked["logger"]
        if loggers in (None, True):
            loggers = []
            if self.subcommand == "fit":
                mode = wandb_mode(self._get(self.config_init, "wandb"))
                loggers = [CSVLogger(self.output_dir, name="logs"), *wandb_loggers(self.output_dir, mode)]
        given = asked["callbacks"] or []
        callbacks = [*(given if isinstance(given, list) else [given]), *self._callbacks(has_logger=bool(loggers))]
        try:
            return super().instantiate_trainer(**kwargs, logger=loggers, callbacks=callbacks)
        except (ValueError, MisconfigurationException) as error:  # such as --trainer.devices 8 where there is one
            raise SettingError("These settings of the trainer do not work here", first_line(error)) from error

    @property
    def output_dir(self) -> Path:
        """Where the run goes."""
        folder: Path = self._get(self.config_init, "output_dir")
        return folder

    @property
    def evaluation(self) -> RetrievalEvaluation:
        """The callback that measures, and what it has measured."""
        callback: RetrievalEvaluation = self._get(self.config_init, "evaluation")
        return callback

    def _callbacks(self, *, has_logger: bool) -> list[Callback]:
        config = self.config_init[self.subcommand]
        callbacks = [config.evaluation, config.learning_curve, PredictionWriter(config.predict_top_k)]
        if self.subcommand == "fit":
            folder = self.output_dir / _CHECKPOINTS
            last, every = {"dirpath": folder, "filename": "last", **_AS_NAMED}, config.checkpoint_every_n_steps
            best, stopping = config.best_checkpoint, config.early_stopping
            if best is not None and best.dirpath is None:
                best.dirpath = os.path.realpath(folder)
            if isinstance(stopping, int):
                monitor, mode = self._monitor
                stopping = EarlyStopping(monitor, mode=mode, patience=stopping, strict=False)
            resume = ["python", "-m", "lit_rec", *self._words, "--ckpt_path", str(folder / "last.ckpt")]
            callbacks += [
                best,
                ModelCheckpoint(**last, every_n_train_steps=every),
                ModelCheckpoint(**last, every_n_epochs=1, save_on_train_epoch_end=True),
                StopOnSignal(folder / "last.ckpt", shlex.join(resume)),
                config.learning_rate_monitor if has_logger else None,
                stopping,
            ]
        return [callback for callback in callbacks if callback is not None]

    @property
    def _monitor(self) -> tuple[str, str]:
        """The metric that chooses the best checkpoint, and whether 'max' or 'min' of it is best."""
        best: ModelCheckpoint | None = self._get(self.config_init, "best_checkpoint")
        return (best.monitor, best.mode) if best is not None and best.monitor else (MONITOR, "max")

    def before_fit(self) -> None:
        """Say what is about to happen, and where an earlier run could go on."""
        trainer = self.trainer
        device = trainer.strategy.root_device
        logger.info(
            "Training on %s x %s in %s, into %s", trainer.world_size, device, trainer.precision, self.output_dir
        )
        if self._checkpoint is not None:
            trainer.num_sanity_val_steps = 0  # the model is not untrained any more
        settings = self._ranker_settings
        if settings is not None and trainer.is_global_zero:
            ranker_training.inputs(self.datamodule.prepared_folder(), settings)  # read again after training
        if trainer.is_global_zero and not is_fast_dev_run(trainer):
            self._set_older_run_aside()

    def _set_older_run_aside(self) -> None:
        """What another run has left in the folder is not lost, and not taken for this run's."""
        folder = self.output_dir / _CHECKPOINTS
        goes_on = self._checkpoint is not None and Path(self._checkpoint).parent.resolve() == folder.resolve()
        if goes_on or not any(folder.glob("*.ckpt")):
            return
        older = next(path for n in count(1) if not (path := folder.with_name(f"{_CHECKPOINTS}.{n}")).exists())
        folder.rename(older)
        logger.info("A run was here before; to go on with it: --ckpt_path %s", shlex.quote(str(older / "last.ckpt")))

    def after_fit(self) -> None:
        """Print the curve as a table, and what to do next."""
        logs = self.trainer.log_dir  # exchanged between the processes, so all must ask
        if torch.distributed.is_initialized():  # what follows is the work of one process
            self.trainer.strategy.barrier()
            torch.distributed.destroy_process_group()
        if not self._has_results():
            return
        if self.evaluation.results:
            Console().print(metrics_table(self.evaluation.results, VALIDATION_TITLE))
        curve = f"Learning curve: {self.output_dir / 'learning_curve.png'}"
        curves = [curve] if self._get(self.config_init, "learning_curve") is not None else []
        settings, best = self._ranker_settings, self._best_checkpoint()
        if settings is None:
            test = self._test_command(Path(logs or self.output_dir) / "config.yaml", best)
            print_next_steps(*test, self._export_command(best), *curves)
            return
        model_dir = export_model(best, self.output_dir / _FINAL, ranker_follows=True)
        folder: ProcessedFolder = self.datamodule.prepared_folder(prepare_if_needed=False)
        metrics = ranker_training.fit_ranker(folder, model_dir, settings)
        if metrics:
            monitor, mode = self._monitor
            encoder_only = self.evaluation.best(monitor.removeprefix("val/"), mode)
            rows = {"encoder only": encoder_only} if encoder_only else {}
            Console().print(metrics_table({**rows, "ranker": metrics}, VALIDATION_TITLE))
        print_next_steps(*ranker_commands(folder, model_dir), *curves)

    def _best_checkpoint(self) -> Path:
        """Of this run: without validation the last one; of a resumed one it may be in the folder that it began in."""
        folder = self.output_dir / _CHECKPOINTS
        best: ModelCheckpoint | None = self._get(self.config_init, "best_checkpoint")
        files = []
        if best is not None and best.best_model_path:
            found = Path(best.best_model_path)
            own = folder / found.name
            files = [own if found.resolve() == own.resolve() else found]
            if self._checkpoint:  # of a run that was set aside, and went on without a better one
                files.append(Path(self._checkpoint).with_name(found.name))
        return next((file for file in files if file.is_file()), folder / "last.ckpt")

    def before_validate(self) -> None:
        """Leave the printing to the table below."""
        self.config_init[self.subcommand]["verbose"] = False

    before_test = before_validate

    def after_validate(self) -> None:
        """Print the metrics."""
        if self._has_results():
            Console().print(metrics_table(self.evaluation.results, VALIDATION_TITLE))
            print_next_steps(*self._export_commands(), command("fit", "--help"))

    def after_test(self) -> None:
        """Print the metrics beside those of earlier tests into the same folder, and keep them."""
        if not self._has_results() or "test" not in self.evaluation.results:
            return  # under a spawning strategy the results stay in the processes that made them
        file = self.output_dir / _TEST_METRICS
        results: dict[str, dict[str, float]] = read_json(file) if file.exists() else {}
        tested = str(self._checkpoint or f"untrained {self.model.hparams['base_model']}")
        results[tested] = self.evaluation.results["test"]
        write_json(file, results, indent=2)
        Console().print(metrics_table(results, TEST_TITLE))
        print_next_steps(*self._export_commands(), f"The figures are in {file}")

    def after_predict(self) -> None:
        """Say where the predictions are."""
        if self._has_results():
            print_next_steps(f"Predictions: {self.output_dir / 'predictions'}/part-*.parquet")

    def _has_results(self) -> bool:
        """Whether this process has something to show at the end; of a fast_dev_run it only says what was run."""
        trainer = self.trainer
        if trainer.is_global_zero and is_fast_dev_run(trainer):
            n = int(trainer.fast_dev_run)  # type: ignore[attr-defined]
            batches = "one batch" if n == 1 else f"{n} batches"
            logger.info(
                "fast_dev_run: %s ran without an error on %s of each kind; nothing was kept", self.subcommand, batches
            )
        return trainer.is_global_zero and not is_fast_dev_run(trainer)

    def _export_commands(self) -> list[str]:
        return [self._export_command(self._checkpoint)] if self._checkpoint else []

    def _export_command(self, checkpoint: str | Path) -> str:
        return command("export", "--ckpt_path", checkpoint, "--output_dir", self.output_dir / _FINAL)

    def _test_command(self, config: Path, checkpoint: Path) -> list[str]:
        """With the settings of the run where a logger has kept them; nothing where the data have no test part."""
        folder: ProcessedFolder = self.datamodule.prepared_folder(prepare_if_needed=False)
        if not folder.params.get("n_test_queries", 1):
            return []
        settings: list[object] = ["--config", config]
        if not config.is_file():
            settings = ["--data.processed_dir", folder.path, "--output_dir", self.output_dir]
        return [command("test", *settings, "--ckpt_path", checkpoint)]

    @property
    def _checkpoint(self) -> str | None:
        path: str | None = self._get(self.config_init, "ckpt_path")
        return path


def run(args: ArgsType = None) -> TrainingCLI:
    """Parse and run one of the four commands.

    Args:
        args: command line after the program's name; None for the process's own.

    Raises:
        CheckpointError: the checkpoint named is not there, or damaged.
    """
    quiet_lightning()
    return TrainingCLI(
        BiEncoder,
        NextOrderDataModule,
        save_config_callback=SavedConfig,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=42,
        trainer_defaults=_TRAINER_DEFAULTS,
        parser_class=TrainingParser,
        parser_kwargs={"prog": "python -m lit_rec"},
        args=args,
    )
