"""The ranker as a LightningModule: listwise losses and optimizer only.

Shapes: T targets of a batch, M candidates of their histories, C candidates that were not bought before, E networks.
"""

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from lit_rec.ranking.dataset import GroupedCandidates, RankerBatch
from lit_rec.ranking.network import RankerNetwork


class RankerModule(LightningModule):
    """Trains a :class:`~lit_rec.ranking.network.RankerNetwork`.

    Args:
        network: to be trained.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
    """

    def __init__(self, network: RankerNetwork, learning_rate: float = 2e-3, weight_decay: float = 0.01) -> None:
        super().__init__()
        self.network, self.learning_rate, self.weight_decay = network, learning_rate, weight_decay

    def training_step(self, batch: RankerBatch, batch_idx: int) -> Tensor:
        """Sum of three losses: each network ranks bought and new products apart, the calibration ranks them together.

        The calibration's loss leaves the two rankings as they are: their scores are detached.
        """
        repeat, explore, n_targets = batch.repeat, batch.explore, len(batch.users)
        repeat_scores, explore_scores = self.network.repeat(repeat.features), self.network.explore(explore.features)
        calibrated = self.network.calibrate(explore_scores.mean(dim=0).detach(), explore.target, batch.users)
        merged = listwise_loss(
            torch.cat([repeat_scores.mean(dim=0).detach(), calibrated]),
            torch.cat([repeat.target, explore.target]),
            torch.cat([repeat.labels, explore.labels]),
            n_targets,
        )
        by_network = {
            "repeat": _losses(repeat_scores, repeat, n_targets),
            "explore": _losses(explore_scores, explore, n_targets),
        }
        shown = {name: losses.detach().sum() / len(losses) for name, losses in by_network.items()}
        for name, value in {**shown, "merged": merged.detach()}.items():
            self.log(f"train/{name}_loss", value, prog_bar=True, on_epoch=True, batch_size=n_targets)
        return torch.stack([*(losses.sum() for losses in by_network.values()), merged]).sum()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW under one cycle."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        n_steps = max(int(self.trainer.estimated_stepping_batches), 20)  # at 10 steps the schedule divides by zero
        scheduler = OneCycleLR(optimizer, self.learning_rate, total_steps=n_steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _losses(scores: Tensor, candidates: GroupedCandidates, n_targets: int) -> Tensor:
    """Listwise loss of each network, ``(E,)``; ``scores`` are ``(E, M)``."""
    return torch.stack([listwise_loss(one, candidates.target, candidates.labels, n_targets) for one in scores])


def listwise_loss(scores: Tensor, target: Tensor, labels: Tensor, n_targets: int) -> Tensor:
    """Softmax cross-entropy over each target's candidates, its bought ones sharing the probability alike.

    Args:
        scores: ``(M,)``.
        target: int64 ``(M,)``.
        labels: float32 ``(M,)``, 1 where the target order holds the product, else 0.
        n_targets: T.

    Returns:
        Mean over the targets with a bought candidate; 0 where none has one.

    Source: Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach (ICML 2007), top-one
    probabilities with the relevant products equally likely.

    >>> listwise_loss(torch.zeros(4), torch.tensor([0, 0, 0, 0]), torch.tensor([1.0, 0, 0, 1]), 1).exp()
    tensor(4.)
    """
    # log-sum-exp of each target's scores; the highest is taken out first so that exp does not overflow.
    highest = scores.new_full((n_targets,), -torch.inf).scatter_reduce(0, target, scores.detach(), "amax")
    mass = scores.new_zeros(n_targets).index_add(0, target, (scores - highest[target]).exp())
    log_mass = mass.clamp_min(torch.finfo(scores.dtype).tiny).log() + highest.nan_to_num(neginf=0.0)
    n_bought = labels.new_zeros(n_targets).index_add(0, target, labels)
    share = labels / n_bought.clamp_min(1)[target]
    n_used = (n_bought > 0).sum().clamp_min(1)
    return ((log_mass[target] - scores) * share).sum() / n_used
