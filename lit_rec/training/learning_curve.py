"""``learning_curve.png``: losses and evaluations of a run so far."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn

from lit_rec.evaluation.plots import learning_curve
from lit_rec.training.retrieval_evaluation import RetrievalEvaluation, is_fast_dev_run

logger = logging.getLogger(__name__)

_STEPS_PER_POINT = 5


class LearningCurve(Callback):
    """Draws ``learning_curve.png`` into the run's folder after each evaluation, and says each epoch's loss.

    The evaluations are those of the run's :class:`RetrievalEvaluation`.
    """

    def __init__(self) -> None:
        self.losses: list[tuple[int, float]] = []
        self._loss_of_epoch, self._n_batches = torch.zeros(()), 0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the whole curve."""
        return {"losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a curve."""
        self.losses = list(state_dict["losses"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Note the loss now and then."""
        step = trainer.global_step  # stays while gradients accumulate
        last_step = self.losses[-1][0] if self.losses else 0
        if step % _STEPS_PER_POINT == 0 and step != last_step:
            self.losses.append((step, float(outputs["loss"]) * trainer.accumulate_grad_batches))
        loss = outputs["loss"].detach()  # a number of it now would wait for the device
        self._loss_of_epoch, self._n_batches = self._loss_of_epoch.to(loss.device) + loss, self._n_batches + 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say the mean loss of the epoch."""
        if trainer.is_global_zero and self._n_batches:
            loss = float(self._loss_of_epoch) / self._n_batches * trainer.accumulate_grad_batches
            logger.info("epoch %s: mean training loss %.4f", trainer.current_epoch, loss)
        self._loss_of_epoch, self._n_batches = torch.zeros(()), 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what is known so far."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the loss of a run without validation."""
        if not self._evaluations(trainer):
            self._draw(trainer)

    def _evaluations(self, trainer: Trainer) -> list[dict[str, float]]:
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        return [values for c in callbacks if isinstance(c, RetrievalEvaluation) for values in c.results.values()]

    def _draw(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and not is_fast_dev_run(trainer):
            file = Path(trainer.default_root_dir) / "learning_curve.png"
            learning_curve(file, self.losses, self._evaluations(trainer))
            for run_logger in trainer.loggers:
                if isinstance(run_logger, WandbLogger):
                    run_logger.log_image("learning_curve", [str(file)])
