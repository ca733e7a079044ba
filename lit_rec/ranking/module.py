"""The ranker as a LightningModule: listwise losses and optimizer only.

Shapes: T targets of a batch, M candidates of their histories, C candidates that were not bought before.
"""

from typing import NamedTuple

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from lit_rec.ranking.network import RankerNetwork


class GroupedCandidates(NamedTuple):
    """Candidates of T targets, flat.

    Args:
        features: float32 ``(M, F)``.
        target: int64 ``(M,)``, ascending.
        labels: float32 ``(M,)``, 1 where the target order holds the product.
    """

    features: Tensor
    target: Tensor
    labels: Tensor


class RankerBatch(NamedTuple):
    """What a step is trained on.

    Args:
        repeat: candidates of the histories.
        explore: candidates that were not bought before.
        users: float32 ``(T, 4)``.
    """

    repeat: GroupedCandidates
    explore: GroupedCandidates
    users: Tensor


class RankerModule(LightningModule):
    """Trains a :class:`~lit_rec.ranking.ranker.RankerNetwork`.

    Args:
        network: to be trained.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
    """

    def __init__(self, network: RankerNetwork, learning_rate: float = 2e-3, weight_decay: float = 0.01) -> None:
        super().__init__()
        self.network, self.learning_rate, self.weight_decay = network, learning_rate, weight_decay

    def training_step(self, batch: RankerBatch, batch_idx: int) -> Tensor:
        """Each member ranks bought and new products by itself; then the two are put on one scale."""
        repeat, explore = batch.repeat, batch.explore
        n_targets = len(batch.users)
        repeat_scores, explore_scores = self.network.repeat(repeat.features), self.network.explore(explore.features)
        repeat_loss = torch.stack([listwise_loss(s, repeat.target, repeat.labels, n_targets) for s in repeat_scores])
        explore_loss = torch.stack(
            [listwise_loss(s, explore.target, explore.labels, n_targets) for s in explore_scores]
        )
        comparable = self.network.calibrate(
            explore_scores.mean(dim=0).detach(), explore.target, batch.users
        )  # ranking within the two parts is left alone
        merged_loss = listwise_loss(
            torch.cat([repeat_scores.mean(dim=0).detach(), comparable]),
            torch.cat([repeat.target, explore.target]),
            torch.cat([repeat.labels, explore.labels]),
            n_targets,
        )
        losses = {"repeat": repeat_loss.sum(), "explore": explore_loss.sum(), "merged": merged_loss}
        ensemble_size = len(repeat_scores)
        for name, value in losses.items():
            shown = value.detach() / (1 if name == "merged" else ensemble_size)
            self.log(f"train/{name}_loss", shown, prog_bar=True, on_epoch=True, batch_size=n_targets)
        return torch.stack(list(losses.values())).sum()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW under one cycle."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        n_steps = max(int(self.trainer.estimated_stepping_batches), 20)  # at 10 steps the schedule divides by zero
        scheduler = OneCycleLR(optimizer, self.learning_rate, total_steps=n_steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def listwise_loss(scores: Tensor, target: Tensor, labels: Tensor, n_targets: int) -> Tensor:
    """Softmax cross-entropy over each target's candidates, its bought ones sharing the probability alike.

    Args:
        scores: ``(M,)``.
        target: int64 ``(M,)``.
        labels: float32 ``(M,)``, 0 or 1.
        n_targets: T.

    Returns:
        Mean over the targets with a bought candidate; 0 where none has one.

    Source: Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach (ICML 2007), top-one
    probabilities with the relevant products equally likely.

    >>> listwise_loss(torch.zeros(4), torch.tensor([0, 0, 0, 0]), torch.tensor([1.0, 0, 0, 1]), 1).exp()
    tensor(4.)
    """
    highest = scores.new_full((n_targets,), -torch.inf).scatter_reduce(0, target, scores.detach(), "amax")
    mass = scores.new_zeros(n_targets).index_add(0, target, (scores - highest[target]).exp())
    log_mass = mass.clamp_min(torch.finfo(scores.dtype).tiny).log() + highest.nan_to_num(neginf=0.0)
    n_bought = labels.new_zeros(n_targets).index_add(0, target, labels)
    share = labels / n_bought.clamp_min(1)[target]
    n_used = (n_bought > 0).sum().clamp_min(1)
    return ((log_mass[target] - scores) * share).sum() / n_used
