"""What ``evaluate`` can be asked."""

from pathlib import Path

import pytest

from lit_rec.core.errors import SettingError
from lit_rec.evaluation.settings import EvaluationSettings


def test_nothing_to_evaluate():
    with pytest.raises(SettingError, match="Nothing to evaluate"):
        EvaluationSettings()


@pytest.mark.parametrize("name", ["n_resamples", "chunk_size"])
def test_numbers_from_one(name):
    with pytest.raises(SettingError, match=f"{name} must be at least 1: got 0"):
        EvaluationSettings(baselines=["popularity"], **{name: 0})


def test_pictures_are_beside_the_json():
    asked = {"base_model": True, "json": Path("results/a.json")}
    assert EvaluationSettings(**asked).pictures_dir == Path("results/a")
    assert EvaluationSettings(**asked, pictures=Path("there")).pictures_dir == Path("there")
    assert EvaluationSettings(base_model=True).pictures_dir is None
