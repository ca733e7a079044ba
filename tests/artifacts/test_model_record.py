"""What a model folder records of itself: metrics of its weights, and hashes of its files."""

import json
import shutil
from pathlib import Path

import pytest

from lit_rec.artifacts.model_record import ENCODER, RANKER, check_files, metrics_to_publish, recorded_metrics
from lit_rec.artifacts.pretrained import load_sentence_transformer
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, NotMeasuredError
from lit_rec.core.files import sha256_of_file
from lit_rec.inference.backends import load_backend
from lit_rec.models.encoder import TextEncoder

EVALUATIONS = {
    "untrained": {"step": 0, "ndcg@10": 0.1},
    "epoch 0": {"step": 10, "ndcg@10": 0.3, "explore_ndcg@10": float("nan")},
    "epoch 1": {"step": 20, "ndcg@10": 0.2},
    "test": {"ndcg@10": 0.9},
}


def folder_of(tmp_path: Path, record: object, ranker: object = None) -> Path:
    (tmp_path / schema.MODEL_RECORD).write_text(json.dumps(record), encoding="utf-8")
    if ranker is not None:
        (tmp_path / schema.RANKER).write_text(json.dumps(ranker), encoding="utf-8")
    return tmp_path


def test_metrics_are_those_of_the_step_that_the_weights_are_of(tmp_path):
    folder = folder_of(tmp_path, {"global_step": 10, "metrics": EVALUATIONS})
    assert recorded_metrics(folder) == {ENCODER: {"ndcg@10": 0.3}}


def test_a_rankers_metrics_stand_beside_them(tmp_path):
    folder = folder_of(tmp_path, {"global_step": 20, "metrics": EVALUATIONS}, {"metrics": {"ndcg@10": 0.4}})
    assert recorded_metrics(folder) == {ENCODER: {"ndcg@10": 0.2}, RANKER: {"ndcg@10": 0.4}}


@pytest.mark.parametrize("record", [{}, {"global_step": 5, "metrics": EVALUATIONS}, {"global_step": 5, "metrics": {}}])
def test_without_metrics_a_model_is_published_only_when_told_so(record, tmp_path):
    folder = folder_of(tmp_path, record, {"metrics": {}})
    assert recorded_metrics(folder) == {}
    with pytest.raises(NotMeasuredError, match=r"lit_rec.json holds none .*--allow_unmeasured true"):
        metrics_to_publish(folder, allow_unmeasured=False)
    assert metrics_to_publish(folder, allow_unmeasured=True) == {}


def test_a_folder_without_a_record(tmp_path):
    with pytest.raises(ModelFolderError, match=r"it holds no lit_rec.json. Make one with the command export"):
        recorded_metrics(tmp_path)
    with pytest.raises(NotMeasuredError, match=r"it holds no lit_rec.json"):
        metrics_to_publish(tmp_path, allow_unmeasured=False)
    check_files(tmp_path)


@pytest.mark.parametrize("kind", ["transformer", "static"])
def test_weights_that_are_not_those_of_the_export_are_not_loaded(kind, tiny_model, tmp_path):
    folder = tmp_path / "model"
    if kind == "static":
        TextEncoder(str(tiny_model), kind="static").save(folder)
    else:
        shutil.copytree(tiny_model, folder)
    (weights,) = folder.rglob("*.safetensors")
    (folder / "notes.md").write_text("not part of what is pushed")
    written = {str(file.relative_to(folder)): sha256_of_file(file) for file in folder.rglob("*.*") if file.is_file()}
    folder_of(folder, {"sha256": written})
    (folder / "notes.md").unlink()
    load_sentence_transformer(str(folder))
    check_files(folder, "*.safetensors")
    with pytest.raises(ModelFolderError, match=r"changed since export: notes\.md"):
        check_files(folder)
    content = bytearray(weights.read_bytes())
    content[-40:] = bytes(40)
    weights.write_bytes(content)
    for load in (load_sentence_transformer, lambda path: load_backend(path, "torch" if kind != "static" else "onnx")):
        with pytest.raises(
            ModelFolderError, match=r"is damaged: missing or changed since export: \S*model\.safetensors"
        ):
            load(str(folder))
