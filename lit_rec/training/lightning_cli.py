"""``fit``, ``validate``, ``test`` and ``predict``: LightningCLI with this project's callbacks and loggers."""

import logging
import os
import shlex
import sys
from dataclasses import replace
from itertools import count
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console

from lit_rec.artifacts.model_folder import own_processed_folder, recorded_processed_folder
from lit_rec.core import schema
from lit_rec.core.devices import default_precision
from lit_rec.core.errors import SettingError, first_line
from lit_rec.core.files import check_folder, check_replaceable, read_json, write_json
from lit_rec.core.next_steps import command, print_next_steps
from lit_rec.core.parser import CommandParser
from lit_rec.core.quiet import quiet_lightning
from lit_rec.data.datamodule import NextOrderDataModule, locate
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.settings import PrepareSettings
from lit_rec.evaluation.tables import TEST_TITLE, VALIDATION_TITLE, metrics_table, ranker_commands
from lit_rec.models.bi_encoder import ADDED_TOKENS_FROM_DATA, BiEncoder
from lit_rec.ranking import training as ranker_training
from lit_rec.ranking.auxiliary_orders import check_auxiliary_orders
from lit_rec.ranking.settings import RankerSettings
from lit_rec.training.callbacks import LearningCurve, PredictionWriter, RetrievalEvaluation, StopOnSignal
from lit_rec.training.export import export_model, read_checkpoint

logger = logging.getLogger(__name__)

MONITOR = "val/ndcg@10"
_CHECKPOINTS, _FINAL = "checkpoints", "final"
_WANDB_MODES = {"dryrun": "offline", "run": "online", "disabled": "off", "online": "online", "offline": "offline"}
_WANDB_SECONDS = 10  # to answer in, at the start
_TEST_METRICS = "test_metrics.json"

_TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 1,
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,  # one line: the encoder
    "num_sanity_val_steps": -1,  # a whole evaluation before the first step: the untrained model, for comparison
    "use_distributed_sampler": False,  # the samplers share out orders themselves, none twice and none lost
}


class TrainingParser(CommandParser, LightningArgumentParser):
    """Lightning's, with errors of a line."""


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
            "leaves that to the commands export and fit_ranker.",
        )
        parser.add_argument("--predict_top_k", type=int, default=100, help="Products a query that predict writes.")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """A checkpoint that is named has to be there, and brings its own model settings along.

        Raises:
            ModelFolderError: there is no such checkpoint, or it is damaged.
        """
        super().parse_arguments(parser, args)
        self._words = sys.argv[1:] if args is None else args if isinstance(args, list) else []
        config = self.config[self.config.subcommand]
        if config.ckpt_path is None:
            return
        file = Path(config.ckpt_path)
        if config.ckpt_path in {"best", "last"}:
            file = config.output_dir / _CHECKPOINTS / f"{config.ckpt_path}.ckpt"
        read_checkpoint(file)  # says what is wrong with it
        config.ckpt_path = str(file)
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
            options = {name: config.data[name] for name in ("processed_dir", "source", "data_dir", "output_dir")}
            sizes = {name: config.data[name] for name in ("n_users", "n_products")}
            folder = locate(PrepareSettings(**vars(config.data.prepare)), **options, **sizes)
            config.model.added_tokens_from = str(folder)

    def after_instantiate_classes(self) -> None:
        """One seed for all that is not given one of its own."""
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
            record = read_checkpoint(Path(checkpoint)).get("NextOrderDataModule", {})
            own = recorded_processed_folder(checkpoint, record)
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
        mode = self._wandb_mode()
        return loggers if mode == "off" else [*loggers, *wandb_loggers(self.output_dir, mode)]

    def _wandb_mode(self) -> str:
        asked: str = self._get(self.config_init, "wandb")
        if asked != "auto":
            return asked
        if mode := os.environ.get("WANDB_MODE"):
            if mode.strip().lower() not in _WANDB_MODES:
                known = ", ".join(_WANDB_MODES)
                logger.warning("WANDB_MODE is %r, which is none of %s: Weights & Biases is offline", mode, known)
            return _WANDB_MODES.get(mode.strip().lower(), "offline")
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
        last = folder / "last.ckpt"
        self._best = ModelCheckpoint(filename="best", monitor=MONITOR, mode="max", **options)
        callbacks += [
            self._best,
            ModelCheckpoint(filename="last", every_n_train_steps=every, **options),
            ModelCheckpoint(filename="last", every_n_epochs=1, save_on_train_epoch_end=True, **options),
            StopOnSignal(last, shlex.join(["python", "-m", "lit_rec", *self._words, "--ckpt_path", str(last)])),
        ]
        if trainer_options.get("logger"):
            callbacks.append(LearningRateMonitor())
        if (patience := self._get(self.config_init, "early_stopping")) is not None:
            callbacks.append(EarlyStopping(MONITOR, mode="max", patience=patience, strict=False))
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
        settings = self._ranker_settings
        if settings is not None and trainer.is_global_zero:
            ranker_training.inputs(self.datamodule.prepared_folder(), settings)  # read again after training
        self._set_older_run_aside()

    def _keeps_checkpoints(self) -> bool:
        return self.trainer.is_global_zero and not getattr(self.trainer, "fast_dev_run", False)

    def _set_older_run_aside(self) -> None:
        """What another run has left in the folder is not lost, and not taken for this run's."""
        folder = self.output_dir / _CHECKPOINTS
        goes_on = self._checkpoint is not None and Path(self._checkpoint).parent.resolve() == folder.resolve()
        if goes_on or not self._keeps_checkpoints() or not any(folder.glob("*.ckpt")):
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
        if not self._keeps_checkpoints():
            return  # in a fast_dev_run there is nothing to go on with
        self._print_table(VALIDATION_TITLE)
        settings = self._ranker_settings
        best = self._best_checkpoint()
        if settings is not None:
            self._fit_ranker(best, settings)
            return
        print_next_steps(
            *self._test_command(Path(logs or self.output_dir) / "config.yaml", best),
            self._export_command(best),
            f"Learning curve: {self.output_dir / 'learning_curve.png'}",
        )

    def _best_checkpoint(self) -> Path:
        """Of this run: without validation the last one; of a resumed one it may be in the folder that it began in."""
        folder, found = self.output_dir / _CHECKPOINTS, self._best.best_model_path
        own = folder / "best.ckpt"
        files = [own if Path(found).resolve() == own.resolve() else Path(found)] if found else []
        if found and self._checkpoint:  # of a run that was set aside, and went on without a better one
            files.append(Path(self._checkpoint).with_name("best.ckpt"))
        return next((file for file in files if file.is_file()), folder / "last.ckpt")

    def _fit_ranker(self, best: Path, settings: RankerSettings) -> None:
        model_dir = export_model(best, self.output_dir / _FINAL, ranker_follows=True)
        folder: ProcessedFolder = self.datamodule.prepared_folder(prepare_if_needed=False)
        metrics = ranker_training.fit_ranker(folder, model_dir, settings)
        if metrics:
            encoder_only = {"encoder only": self.evaluation.best} if self.evaluation.best else {}
            Console().print(metrics_table({**encoder_only, "ranker": metrics}, VALIDATION_TITLE))
        curve = f"Learning curve: {self.output_dir / 'learning_curve.png'}"
        print_next_steps(*ranker_commands(folder, model_dir), curve)

    def before_validate(self) -> None:
        """Leave the printing to the table below."""
        self.config_init[self.subcommand]["verbose"] = False

    before_test = before_validate

    def after_validate(self) -> None:
        """Print the metrics."""
        self._print_table(VALIDATION_TITLE)
        print_next_steps(
            *([self._export_command(self._checkpoint)] if self._checkpoint else []), command("fit", "--help")
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
        print_next_steps(*([self._export_command(self._checkpoint)] if self._checkpoint else []), figures)

    def after_predict(self) -> None:
        """Say where the predictions are."""
        print_next_steps(f"Predictions: {self.output_dir / 'predictions'}/part-*.parquet")

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

    def _print_table(self, title: str) -> None:
        if self.trainer.is_global_zero and self.evaluation.results:
            Console().print(metrics_table(self.evaluation.results, title))

    @property
    def _checkpoint(self) -> str | None:
        path: str | None = self._get(self.config_init, "ckpt_path")
        return path


def wandb_loggers(folder: Path, mode: str) -> list[Logger]:
    """Weights & Biases, begun here and not in mid-training: it waits for minutes, and then fails, where it cannot.

    Args:
        folder: wandb/ is made in it.
        mode: 'online' or 'offline'.

    Returns:
        One logger, offline where the server cannot be reached or refuses the key; none where the folder is not to be
        written into.
    """
    import wandb

    os.environ["WANDB_MODE"] = mode  # wandb refuses OFFLINE
    settings = wandb.Settings(init_timeout=_WANDB_SECONDS)
    options: dict[str, Any] = {"name": folder.name, "save_dir": folder, "settings": settings}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = WandbLogger(project="lit_rec", offline=mode == "offline", mode=mode, **options)
        made.experiment  # noqa: B018 - begins the run
    except (wandb.Error, OSError) as error:
        found = str(error).strip().splitlines()[0]
        if mode == "offline":
            logger.warning("Weights & Biases is off, it cannot begin a run in %s: %s", folder, found)
            return []
        logger.warning("Weights & Biases is offline: %s", found)
        return wandb_loggers(folder, "offline")
    return [made]


def _has_wandb_key() -> bool:
    """Whether the environment names a key, or ``wandb login`` has left one."""
    import wandb

    if os.environ.get("WANDB_API_KEY"):
        return True
    servers = [os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url, "https://api.wandb.ai"]
    try:
        return any(netrc().authenticators(urlparse(server).hostname or "") is not None for server in servers)
    except (OSError, NetrcParseError):
        return False


def run(args: ArgsType = None) -> TrainingCLI:
    """Parse and run one of the four commands.

    Args:
        args: command line after the program's name; None for the process's own.

    Raises:
        ModelFolderError: the checkpoint named is not there, or damaged.
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
