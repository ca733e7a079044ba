"""The listwise loss against log_softmax, and a step that learns."""

import pytest
import torch

from lit_rec.ranking.explore_features import EXPLORE_FEATURES, USER_FEATURES
from lit_rec.ranking.module import GroupedCandidates, RankerBatch, RankerModule, listwise_loss
from lit_rec.ranking.network import RankerNetwork
from lit_rec.ranking.repeat_features import REPEAT_FEATURES


def test_the_loss_is_cross_entropy_with_equal_shares_for_what_was_bought():
    torch.manual_seed(0)
    scores, sizes = torch.randn(60), [1, 20, 9, 30]
    target = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    bought = (torch.rand(60) < 0.3).float()
    bought[target == 2] = 0  # nothing was bought: takes no part
    expected = []
    for rows in torch.split(torch.arange(60), sizes):
        if bought[rows].sum() > 0:
            log_share = torch.log_softmax(scores[rows], dim=0)
            expected.append(-(log_share * bought[rows]).sum() / bought[rows].sum())
    assert listwise_loss(scores, target, bought, 4) == pytest.approx(float(torch.stack(expected).mean()), abs=1e-5)


def test_scores_far_from_0_do_not_overflow():
    scores = torch.tensor([1000.0, -1000.0, 1000.0], requires_grad=True)
    loss = listwise_loss(scores, torch.zeros(3, dtype=torch.int64), torch.tensor([1.0, 0, 0]), 1)
    loss.backward()
    assert loss.item() == pytest.approx(0.6931, abs=1e-3)
    assert torch.isfinite(scores.grad).all()


def test_nothing_bought_and_nothing_to_rank_cost_nothing():
    assert listwise_loss(torch.zeros(2), torch.tensor([0, 0]), torch.zeros(2), 1) == 0
    assert listwise_loss(torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0), 3) == 0


def candidates(names, n_targets, informative):
    """Ten candidates a target; the one with the highest value of the informative feature was bought."""
    features = torch.randn(10 * n_targets, len(names))
    value = features[:, names.index(informative)].view(n_targets, 10)
    bought = torch.zeros(n_targets, 10).scatter(1, value.argmax(dim=1, keepdim=True), 1.0)
    return GroupedCandidates(features, torch.repeat_interleave(torch.arange(n_targets), 10), bought.flatten())


def test_steps_teach_both_parts_and_their_common_scale():
    torch.manual_seed(0)
    module = RankerModule(RankerNetwork(hidden_size=32, ensemble_size=2, dropout=0.0))
    module.log = lambda *args, **kwargs: None
    batch = RankerBatch(
        candidates(list(REPEAT_FEATURES), 32, "order_share"),
        candidates(list(EXPLORE_FEATURES), 32, "item_item_confidence"),
        torch.randn(32, len(USER_FEATURES)),
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert module.network.calibration_scale.grad.abs() > 0
