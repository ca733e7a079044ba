"""Per-query results to parquet and back, and folds pooled."""

import math
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_rec.core.errors import ProcessedFolderError, SettingError
from lit_rec.evaluation.measure import measure
from lit_rec.evaluation.per_query import load_per_query, pool, save_per_query


def assert_same(one, other):
    for field in fields(one):
        if field.name == "values":
            assert one.values.keys() == other.values.keys()
            for name, values in one.values.items():
                np.testing.assert_array_equal(values, other.values[name])
                assert values.dtype == other.values[name].dtype == np.float32
        elif isinstance(getattr(one, field.name), np.ndarray):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
        elif isinstance(getattr(one, field.name), float):
            assert getattr(one, field.name) == pytest.approx(getattr(other, field.name), nan_ok=True)
        else:
            assert getattr(one, field.name) == getattr(other, field.name)


def test_what_is_read_is_what_was_written(make, tmp_path):
    results = [make.results("a, b|c", seed=1), make.results("second", seed=2, fit_seconds=math.nan, settings=[])]
    file = tmp_path / "made" / "results.parquet"
    save_per_query(file, results)
    assert [path.name for path in file.parent.iterdir()] == ["results.parquet"]
    for one, other in zip(results, load_per_query(file), strict=True):
        assert_same(one, other)


def test_columns_that_others_can_read(make, tmp_path):
    save_per_query(tmp_path / "results.parquet", [make.results("a"), make.results("b")])
    table = pq.read_table(tmp_path / "results.parquet").to_pandas()
    assert table["method"].tolist() == ["a"] * 4 + ["b"] * 4
    assert {"query_id", "ndcg@10", "n_orders", "basket_size", "repeat_share", "shown_product_ids"} <= set(table)


def test_results_of_version_0_1_come_under_the_present_names(make, tmp_path):
    former = make.results("models/a, text alone", values={"explore_part_recall@100": np.zeros(4, np.float32)})
    save_per_query(tmp_path / "results.parquet", [former])
    (result,) = load_per_query(tmp_path / "results.parquet")
    assert (result.method, list(result.values)) == ("models/a, encoder only", ["explore_filtered_recall@100"])


@pytest.mark.parametrize("content", [None, b"no parquet"], ids=["missing", "of another kind"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    file = tmp_path / "results.parquet"
    if content:
        file.write_bytes(content)
    with pytest.raises(ProcessedFolderError, match=r"results\.parquet cannot be read"):
        load_per_query(file)


def test_a_parquet_file_of_another_make(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ProcessedFolderError, match="holds no per-query results"):
        load_per_query(tmp_path / "other.parquet")


def test_two_halves_are_the_whole(make):
    rng = np.random.default_rng(0)
    users = [[rng.integers(0, 150, 5).tolist()] for _ in range(10)]
    relevant = [np.unique(rng.integers(0, 150, 4)) for _ in range(10)]
    scores = rng.random((10, 150))

    def measured(begin, end):
        held_out = make.held_out(users[begin:end], relevant[begin:end], 150, first_id=begin)
        return [measure(make.told(scores[begin:end]), held_out)]

    (whole,), (pooled,) = measured(0, 10), pool([measured(0, 4), measured(4, 10)])
    for name, value in whole.summary().items():
        if name != "ms_per_query":
            assert pooled.summary()[name] == pytest.approx(value, nan_ok=True), name
    assert pooled.query_ids == whole.query_ids
    np.testing.assert_array_equal(pooled.shown, whole.shown)


def test_costs_and_settings_of_folds(make):
    folds = [[make.results(first_id=0, fit_seconds=1.0)], [make.results(first_id=50, peak_gb=0.5)]]
    (pooled,) = pool(folds)
    assert (pooled.fit_seconds, pooled.score_seconds, pooled.peak_gb) == (1.5, 1.0, 0.5)
    assert pooled.settings == [{"beta": 0.8}, {"beta": 0.8}]


def test_only_methods_of_all_folds_are_pooled(make):
    folds = [[make.results("a"), make.results("b")], [make.results("b", first_id=50), make.results("c", first_id=50)]]
    assert [result.method for result in pool(folds)] == ["b"]


def test_folds_without_a_common_method(make):
    for folds in ([], [[make.results("a")], [make.results("b", first_id=50)]]):
        with pytest.raises(SettingError, match="there is none"):
            pool(folds)


def test_a_fold_twice(make):
    with pytest.raises(SettingError, match="4 are in several"):
        pool([[make.results()], [make.results()]])
