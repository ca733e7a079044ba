"""The metrics that a model folder records, of the weights that are in it."""

import json
from pathlib import Path

import pytest

from lit_rec import schema
from lit_rec.errors import ModelFolderError
from lit_rec.model_folder import ENCODER, RANKER, recorded_metrics


def folder_of(tmp_path: Path, record: object, ranker: object = None) -> Path:
    (tmp_path / schema.MODEL_RECORD).write_text(json.dumps(record), encoding="utf-8")
    if ranker is not None:
        (tmp_path / schema.RANKER).write_text(json.dumps(ranker), encoding="utf-8")
    return tmp_path


EVALUATIONS = {
    "untrained": {"step": 0, "ndcg@10": 0.1},
    "epoch 0": {"step": 10, "ndcg@10": 0.3, "explore_ndcg@10": float("nan")},
    "epoch 1": {"step": 20, "ndcg@10": 0.2},
    "test": {"ndcg@10": 0.9},
}


def test_they_are_those_of_the_step_that_the_weights_are_of(tmp_path):
    folder = folder_of(tmp_path, {"global_step": 10, "metrics": EVALUATIONS})
    assert recorded_metrics(folder) == {ENCODER: {"ndcg@10": 0.3}}


def test_a_rankers_stand_beside_them(tmp_path):
    folder = folder_of(tmp_path, {"global_step": 20, "metrics": EVALUATIONS}, {"metrics": {"ndcg@10": 0.4}})
    assert recorded_metrics(folder) == {ENCODER: {"ndcg@10": 0.2}, RANKER: {"ndcg@10": 0.4}}


@pytest.mark.parametrize("record", [{}, {"global_step": 5, "metrics": EVALUATIONS}, {"global_step": 5, "metrics": {}}])
def test_where_nothing_was_measured_there_are_none(record, tmp_path):
    assert recorded_metrics(folder_of(tmp_path, record)) == {}
    assert recorded_metrics(folder_of(tmp_path, record, {"metrics": {}})) == {}


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ModelFolderError, match=r"it holds no lit_rec.json. Make one with the verb export"):
        recorded_metrics(tmp_path)
