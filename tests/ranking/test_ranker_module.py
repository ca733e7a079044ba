"""The listwise loss against log_softmax, a step that learns, and the schedule of the learning rate."""

from types import SimpleNamespace

import pytest
import torch

from lit_rec.ranking.dataset import GroupedCandidates, RankerBatch
from lit_rec.ranking.features import EXPLORE_FEATURES, REPEAT_FEATURES, USER_FEATURES
from lit_rec.ranking.module import RankerModule, listwise_loss
from lit_rec.ranking.network import RankerNetwork


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


def candidates(features, n_targets, informative):
    """Ten candidates a target; the one with the highest value of the informative feature was bought."""
    names = [feature.name for feature in features]
    values = torch.randn(10 * n_targets, len(names))
    value = values[:, names.index(informative)].view(n_targets, 10)
    bought = torch.zeros(n_targets, 10).scatter(1, value.argmax(dim=1, keepdim=True), 1.0)
    return GroupedCandidates(values, torch.repeat_interleave(torch.arange(n_targets), 10), bought.flatten())


def test_steps_teach_both_parts_and_their_common_scale():
    torch.manual_seed(0)
    module = RankerModule(RankerNetwork(hidden_size=32, ensemble_size=2, dropout=0.0))
    module.log = lambda *args, **kwargs: None
    batch = RankerBatch(
        candidates(REPEAT_FEATURES, 32, "order_share"),
        candidates(EXPLORE_FEATURES, 32, "item_item_confidence"),
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


@pytest.mark.parametrize("n_steps", [1, 2, 9, 10, 11, 19, 20, 21, 100])
def test_runs_of_any_number_of_steps_learn_at_no_more_than_the_peak(n_steps, monkeypatch):
    module = RankerModule(RankerNetwork(4, 1, 0.0), learning_rate=0.5)
    monkeypatch.setattr(RankerModule, "trainer", SimpleNamespace(estimated_stepping_batches=n_steps))
    configured = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(n_steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step() if len(rates) < n_steps else None
    assert 0 < max(rates) <= 0.5
    assert rates[0] > 0
    if n_steps > 20:
        assert max(rates) > 0.4
        assert rates[-1] < 0.01
