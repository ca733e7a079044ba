"""The report: the contract of its JSON, paired differences."""

import json
import math

import numpy as np
import pytest

from lit_rec.core.errors import SettingError
from lit_rec.evaluation.report import make_report
from lit_rec.evaluation.tables import markdown, report_tables
from lit_rec.metrics.intervals import paired_difference, percentile_estimates, resampled_means


def test_the_contract_of_the_json(report, results):
    read = json.loads(json.dumps(report, allow_nan=False))
    assert read["n_queries"] == 60
    assert list(read["methods"]) == ["model", "weak", "strong"]
    for result in results:
        flat = read["methods"][result.method]
        assert flat["ndcg@10"] == pytest.approx(result.values["ndcg@10"].mean(dtype=np.float64))
        assert {"n_queries", "coverage@10", "ms_per_query", "fit_seconds", "peak_gb"} <= flat.keys()
        assert all(isinstance(value, float) for value in flat.values())
    assert read["settings"]["model"] == {"beta": 0.8}
    assert {"lit_rec", "python", "numpy"} <= read["versions"].keys()
    assert read["slices"].keys() == {"history_length", "basket_size", "repeat_share"}


def test_compared_with_the_best_baseline_with_the_first_method_or_as_asked(results):
    assert make_report(results, baselines=["weak", "strong"], n_resamples=5)["baseline"] == "strong"
    assert make_report(results, n_resamples=5)["baseline"] == "model"
    assert make_report(results, baselines=["strong"], baseline="weak", n_resamples=5)["baseline"] == "weak"
    with pytest.raises(SettingError, match="'nobody'"):
        make_report(results, baseline="nobody", n_resamples=5)


def test_differences_are_paired(report, results):
    assert report["differences"].keys() == {"model", "weak"}
    model, strong = (results[row].values["ndcg@10"].astype(np.float64) for row in (0, 2))
    found = report["differences"]["model"]["ndcg@10"]
    paired = paired_difference(strong, model, n_resamples=300)
    assert found["difference"] == pytest.approx((model - strong).mean())
    assert (found["low"], found["high"]) == pytest.approx((paired.low, paired.high))
    low, high = report["intervals"]["model"]["ndcg@10"]
    assert low < report["methods"]["model"]["ndcg@10"] < high


def test_differences_of_a_metric_that_applies_to_some_queries(report, results):
    model, strong = (results[row].values["repeat_recall@10"].astype(np.float64) for row in (0, 2))
    assert np.isnan(model).any()
    found = report["differences"]["model"]["repeat_recall@10"]
    (paired,) = percentile_estimates([0], resampled_means((model - strong)[:, np.newaxis], 300))
    assert found["difference"] == pytest.approx(np.nanmean(model - strong))
    assert (found["low"], found["high"]) == pytest.approx((paired.low, paired.high))


def test_the_same_seed_gives_the_same_report(results):
    one, again, other = (make_report(results, n_resamples=50, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one["intervals"] != other["intervals"]


def test_what_does_not_apply_is_null(make):
    never = {"ndcg@10": np.ones(3, np.float32)} | dict.fromkeys(
        ("repeat_recall@10", "explore_recall@10", "explore_filtered_recall@100"), np.full(3, np.nan, np.float32)
    )
    report = make_report([make.results("mine", 3, values=never, fit_seconds=math.nan)], n_resamples=5)
    assert report["methods"]["mine"]["repeat_recall@10"] is None
    assert report["methods"]["mine"]["fit_seconds"] is None
    assert report["intervals"]["mine"]["repeat_recall@10"] == [None, None]
    json.dumps(report, allow_nan=False)
    assert markdown(report)
    assert report_tables(report)


def test_settings_of_pooled_folds_are_a_list(make):
    report = make_report([make.results(settings=[{"beta": 0.8}, {"beta": 0.9}])], n_resamples=5)
    assert report["settings"] == {"mine": [{"beta": 0.8}, {"beta": 0.9}]}


def test_results_on_different_queries_are_not_compared(make):
    with pytest.raises(SettingError, match="same queries"):
        make_report([make.results("a"), make.results("b", first_id=9)])


@pytest.mark.parametrize("n_methods", [0, 1], ids=["no method", "no query"])
def test_a_report_of_nothing(make, n_methods):
    with pytest.raises(SettingError, match="at least one"):
        make_report([make.results("a", 0, shown=np.empty((0, 10), np.int64))] * n_methods)
