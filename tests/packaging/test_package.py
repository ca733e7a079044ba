"""What package refuses, what it leaves behind, and what it says next."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lit_rec.cli.main import main
from lit_rec.core import schema
from lit_rec.core.errors import (
    FileError,
    LitRecError,
    ModelFolderError,
    NotMeasuredError,
    NotPreparedError,
    SettingError,
)
from lit_rec.core.files import sha256_of_file
from lit_rec.packaging.bundle import Bundle
from lit_rec.packaging.package import Packaged
from lit_rec.packaging.package import package as package_model
from lit_rec.packaging.settings import PackageSettings


def package(model_dir: object, corpus: Path, **settings: object) -> Packaged:
    return package_model(PackageSettings(str(model_dir), corpus, **settings))


@pytest.fixture
def measured(tiny_model, tmp_path):
    """A model folder as export writes one."""
    folder = shutil.copytree(tiny_model, tmp_path / "models" / "mine" / "final")
    record = {"global_step": 3, "metrics": {"epoch 0": {"step": 3, "ndcg@10": 0.25}}}
    (folder / schema.MODEL_RECORD).write_text(json.dumps(record))
    return folder


@pytest.fixture
def store(tmp_path):
    """BentoML's model store, in a folder of this test."""
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.models import ModelStore

    folder = tmp_path / "store"
    folder.mkdir()
    BentoMLContainer.model_store.set(ModelStore(str(folder)))
    yield folder
    BentoMLContainer.model_store.reset()


def models_in(store):
    return sorted(store.glob("lit_rec/*/model.yaml"))


def test_into_the_store_without_a_bento(measured, processed_dir, store, capsys):
    import bentoml

    command = ["package", "--model_dir", str(measured), "--corpus", str(processed_dir / schema.EVAL_CORPUS)]
    tag = main([*command, "--n_users", "5", "--build", "false"])
    stored = bentoml.models.get(tag)
    bundle = Bundle.load(stored.path)
    assert bundle.manifest["metrics"] == {"text encoder": {"ndcg@10": 0.25}}
    assert bundle.manifest["model_version"].startswith("mine-")
    assert stored.info.labels == {"model_version": bundle.manifest["model_version"], "backend": "torch"}
    assert len(json.loads(bundle.users_file.read_text())) == 5
    assert "bentoml build" in capsys.readouterr().out
    bundle.recommender(device="cpu").recommend("milk")


def test_into_a_plain_folder(measured, processed_dir, tmp_path, capsys):
    folder = tmp_path / "bundles" / "a"
    corpus = shutil.copy(processed_dir / schema.EVAL_CORPUS, tmp_path / "corpus.json")
    main(["package", "--model_dir", str(measured), "--corpus", str(corpus), "--name", "a", "--output_dir", str(folder)])
    bundle = Bundle.load(folder)
    assert bundle.manifest["model_version"].startswith("a-")
    assert bundle.users_file is None, "a corpus by itself has no held-out users"
    assert f"LIT_REC_BUNDLE={folder}" in capsys.readouterr().out


def test_a_model_without_recorded_metrics_is_refused_unless_told_otherwise(measured, processed_dir, store, tmp_path):
    (measured / schema.MODEL_RECORD).unlink()
    corpus = processed_dir / schema.EVAL_CORPUS
    with pytest.raises(NotMeasuredError, match=r"it holds no lit_rec.json"):
        package(measured, corpus, build=False)
    assert models_in(store) == []
    package(measured, corpus, output_dir=tmp_path / "bundle", n_users=0, allow_unmeasured=True)
    assert Bundle.load(tmp_path / "bundle").manifest["metrics"] == {}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_users": -1}, SettingError, "at least 0: got -1"),
        ({"backend": "abacus"}, SettingError, "Take one of torch, onnx, onnx_int8"),
        ({"name": "a b"}, SettingError, "name must be of letters"),
        ({"corpus": Path("nothing.json")}, NotPreparedError, "No corpus at"),
        ({"model_dir": "nowhere"}, ModelFolderError, "neither a folder nor a hub id"),
    ],
)
def test_settings_out_of_range_leave_nothing(measured, processed_dir, store, settings, error, message):
    given = {"model_dir": measured, "corpus": processed_dir / schema.EVAL_CORPUS, "build": False} | settings
    with pytest.raises(error, match=message):
        package(given.pop("model_dir"), given.pop("corpus"), **given)
    assert models_in(store) == []


def test_a_bento_needs_the_repository(measured, processed_dir, store, tmp_path, monkeypatch):
    monkeypatch.setattr("lit_rec.packaging.package._REPOSITORY", tmp_path)
    with pytest.raises(SettingError, match="built from a clone of the repository"):
        package(measured, processed_dir / schema.EVAL_CORPUS)


def test_a_bento_that_cannot_be_built_takes_its_model_along(measured, processed_dir, store, monkeypatch):
    tags = []

    def run(command, env, **_):
        tags.append(env[schema.BENTO_MODEL_VARIABLE])
        assert len(models_in(store)) == 1, "it is there while the bento is built"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="Error: no space left\n")

    monkeypatch.setattr("lit_rec.packaging.package.subprocess.run", run)
    with pytest.raises(LitRecError, match="could not be built: Error: no space left"):
        package(measured, processed_dir / schema.EVAL_CORPUS, n_users=0)
    assert tags[0].startswith("lit_rec:")
    assert models_in(store) == []


def test_a_folder_that_is_no_bundle_is_refused_before_any_work(measured, processed_dir):
    before = sorted(processed_dir.rglob("*"))
    for model_dir in (measured, "no such model"):
        with pytest.raises(FileError, match="which would be lost"):
            package(model_dir, processed_dir / schema.EVAL_CORPUS, output_dir=processed_dir)
    assert sorted(processed_dir.rglob("*")) == before


def test_a_model_whose_weights_are_not_those_of_its_export_is_refused(measured, processed_dir, tmp_path):
    record = json.loads((measured / schema.MODEL_RECORD).read_text())
    record["sha256"] = {name: sha256_of_file(measured / name) for name in ("model.safetensors", "modules.json")}
    (measured / schema.MODEL_RECORD).write_text(json.dumps(record))
    package(measured, processed_dir / schema.EVAL_CORPUS, n_users=0, output_dir=tmp_path / "bundle")
    weights = bytearray((measured / "model.safetensors").read_bytes())
    weights[-64:] = bytes(64)
    (measured / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelFolderError, match=r"missing or changed since export: model\.safetensors"):
        package(measured, processed_dir / schema.EVAL_CORPUS, n_users=0, output_dir=tmp_path / "bundle")


def test_a_ranker_whose_two_files_are_of_two_trainings_is_refused(measured, processed_dir, tmp_path):
    (measured / schema.RANKER_WEIGHTS).write_bytes(b"new weights")
    (measured / schema.RANKER).write_text(json.dumps({"weights_sha256": "of the old ones", "metrics": {}}))
    with pytest.raises(ModelFolderError, match=r"The ranker of .* cannot be loaded"):
        package(measured, processed_dir / schema.EVAL_CORPUS, n_users=0, output_dir=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
