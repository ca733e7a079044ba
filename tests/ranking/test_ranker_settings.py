"""What the ranker refuses to be trained with."""

import pytest

from lit_rec.core.errors import SettingError
from lit_rec.ranking.settings import RankerSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": 0},
        {"ensemble_size": 0},
        {"max_epochs": 0},
        {"batch_size": 0},
        {"max_targets": 0},
        {"targets_per_user": -1},
        {"dropout": 1.0},
        {"dropout": -0.1},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        RankerSettings(**wrong)
