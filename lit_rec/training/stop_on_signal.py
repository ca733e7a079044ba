"""A run that is told to end, and goes on later as if nothing had been."""

import logging
import signal
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_rec.training.retrieval_evaluation import is_fast_dev_run

logger = logging.getLogger(__name__)


class StopOnSignal(Checkpoint):
    """Ends training on SIGTERM or Ctrl-C where a resumed run can go on as if nothing had been: between two steps.

    Lightning would end it with status 0, and without a checkpoint of where it was. A second signal ends it at once.

    Args:
        file: the checkpoint to write.
        resume: the command that goes on with it.
    """

    def __init__(self, file: Path, resume: str) -> None:
        self.file, self.resume = file, resume
        self._received = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler; it puts back at the end what was there before."""
        if current_thread() is main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            raise SystemExit(128 + number)
        self._received = number
        name = signal.Signals(number).name
        logger.warning("%s: a checkpoint is written after this step or evaluation; once more to end at once", name)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Stop here, but not between a last step and its evaluation: a resumed run would leave that out."""
        every = trainer.val_check_batch
        if not trainer.is_last_batch and not (every and (batch_idx + 1) % every == 0):
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the evaluation."""
        self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        # All processes stop at the same step; of one alone nothing has to be asked.
        received = bool(self._received)
        if trainer.world_size > 1:
            received = trainer.strategy.reduce_boolean_decision(received, all=False)
        if not received:
            return
        if not is_fast_dev_run(trainer):  # which leaves the checkpoints of a run in the same folder alone
            trainer.save_checkpoint(self.file)
            if trainer.is_global_zero:
                logger.info("Stopped after step %s. To go on:\n  %s", f"{trainer.global_step:,}", self.resume)
        raise SystemExit(128 + (self._received or signal.SIGTERM))
