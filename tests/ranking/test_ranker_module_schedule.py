"""The schedule of the learning rate for runs of any length."""

from types import SimpleNamespace

import pytest

from lit_rec.ranking.module import RankerModule
from lit_rec.ranking.network import RankerNetwork


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
