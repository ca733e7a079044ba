from datetime import UTC, datetime

import pytest

from lit_rec.core.errors import SettingError
from lit_rec.feedback.settings import PairSettings, ReportSettings, Selection, SimulateSettings


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"click_rate": 1.5}, "click_rate must be at least 0 and at most 1"),
        ({"irrelevant_factor": -0.1}, "irrelevant_factor must be at least 0 and at most 1"),
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


def test_spans():
    assert (Selection().begin, Selection().end) == (None, None)
    span = Selection("2026-05-01", "2026-05-01T14:00+02:00")
    assert (span.begin, span.end) == (datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 1, 12, tzinfo=UTC))
    for wrong in ("May", "0001-01-01T00:00+14:00"):
        with pytest.raises(SettingError, match=rf"'{wrong[:3]}.*'\. Write 2026-01-31"):
            ReportSettings(since=wrong)
    for until in ("2026-05-01", "2026-04-30"):
        with pytest.raises(SettingError, match="--until must be later than --since: got 2026-05-01 and"):
            PairSettings("2026-05-01", until)
