import subprocess
import sys

import pytest

from lit_rec.baselines.base import Baseline
from lit_rec.baselines.registry import BASELINES, baseline_class
from lit_rec.core.errors import SettingError

NAMES = [
    "popularity",
    "personal_frequency",
    "recency_frequency",
    "last_basket",
    "tifu_knn",
    "up_cf",
    "item_item_seed",
    "item_item",
    "co_visitation",
    "content_based",
    "boosted_trees",
]


def test_all_are_there_in_the_order_of_reports():
    assert list(BASELINES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_class_bears_the_name_it_is_found_by(name):
    found = baseline_class(name)
    assert issubclass(found, Baseline)
    assert found.name == name
    assert found.grid()


def test_a_name_of_version_0_1_is_the_present_one_with_a_warning(caplog):
    assert baseline_class("item_item_reference").name == "item_item_seed"
    assert "item_item_reference is now item_item_seed" in caplog.text


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(SettingError, match=r"'tifu'.*popularity, personal_frequency.*boosted_trees"):
        baseline_class("tifu")


def test_names_and_counting_wait_for_nothing_heavy():
    program = (
        "import sys; from lit_rec.baselines.registry import BASELINES, baseline_class; list(BASELINES); "
        "[baseline_class(name) for name in list(BASELINES)[:9]]; "
        "sys.exit(', '.join({'torch', 'sklearn', 'sentence_transformers', 'datasets'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
