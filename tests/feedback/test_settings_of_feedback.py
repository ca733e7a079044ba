import pytest

from lit_rec.core.errors import SettingError
from lit_rec.feedback.settings import PairSettings, SimulateSettings


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"click_rate": 1.5}, "click_rate must be a chance"),
        ({"irrelevant_factor": -0.1}, "irrelevant_factor must be a chance"),
        ({"n_requests": 0}, "n_requests must be at least 1"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"position_decay": -1.0}, "position_decay"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, complaint):
    with pytest.raises(SettingError, match=complaint):
        SimulateSettings(**settings)


def test_a_weight_below_one_is_refused():
    with pytest.raises(SettingError, match=r"max_weight must be at least 1: got 0\.5"):
        PairSettings(max_weight=0.5)
