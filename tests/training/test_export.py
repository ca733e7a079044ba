import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

import lit_rec
from lit_rec.artifacts.model_folder import product_digests
from lit_rec.artifacts.model_record import check_files
from lit_rec.cli.main import main
from lit_rec.core.errors import CheckpointError, FileError, ModelFolderError
from lit_rec.data.contexts import ContextForm
from lit_rec.data.processed import ProcessedFolder
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.training.export import export_model


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """A model this small is slower with more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoint(tiny_model: Path, processed_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model = ["--model.base_model", str(tiny_model), "--model.max_seq_length", "24", "--model.learning_rate", "1e-2"]
    trainer = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.limit_train_batches", "3"]
    trainer += ["--trainer.log_every_n_steps", "1"]
    data = ["--data.processed_dir", str(processed_dir)]
    main(["fit", *model, *trainer, *data, "--wandb", "off", "--output_dir", str(folder)])
    return folder / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def model_dir(checkpoint: Path) -> Path:
    folder = main(["export", "--ckpt_path", str(checkpoint), "--output_dir", str(checkpoint.parents[1] / "final")])
    assert isinstance(folder, Path)
    return folder


def test_plain_sentence_transformers_loads_it_and_gives_the_checkpoints_embeddings(
    checkpoint: Path, model_dir: Path, processed_dir: Path, tiny_model: Path
) -> None:
    """Contexts longer than the model's length too: they are cut on the side that training cut them on."""
    texts = list(ProcessedFolder(processed_dir).queries.values())
    encoder = BiEncoder.load_from_checkpoint(checkpoint, map_location="cpu").eval().encoder
    rows = encoder.token_ids(texts)
    assert sum(len(row) == 24 for row in rows) > 5
    with torch.no_grad():
        chunks = [{"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row)).long()} for row in rows]
        expected = encoder(chunks)
    found = SentenceTransformer(str(model_dir), device="cpu").encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    untrained = SentenceTransformer(str(tiny_model), device="cpu").encode(texts, convert_to_tensor=True)
    assert (found - untrained).abs().max() > 1e-3


def test_the_record_says_how_the_model_came_about(checkpoint: Path, model_dir: Path, processed_dir: Path) -> None:
    record = json.loads((model_dir / "lit_rec.json").read_text())
    assert record["lit_rec_version"] == lit_rec.__version__
    assert record["packages"]["torch"] == version("torch")
    assert {"sentence-transformers", "transformers", "lightning"} <= set(record["packages"])
    assert record["checkpoint"] == str(checkpoint)
    assert (record["epoch"], record["global_step"]) == (0, 3)
    assert record["model"]["max_seq_length"] == 24
    assert record["model"]["learning_rate"] == 1e-2
    assert not [name for name in record["model"] if name.startswith("_")]
    params = json.loads((processed_dir / "data_prep_params.json").read_text())
    assert record["data"] == {"processed_dir": str(processed_dir), "sha256": params["sha256"]}
    assert record["data"]["sha256"]
    assert set(record["metrics"]) == {"untrained", "epoch 0"}
    assert record["metrics"]["epoch 0"]["ndcg@10"] >= 0


def test_the_folder_knows_its_catalogue_and_how_its_contexts_are_written(model_dir: Path, processed_dir: Path) -> None:
    record = json.loads((model_dir / "lit_rec.json").read_text())
    assert record["context"] == asdict(ContextForm())
    assert json.loads((model_dir / "catalogue.json").read_text()) == product_digests(
        ProcessedFolder(processed_dir).corpus
    )


def test_without_its_processed_folder_a_checkpoint_is_exported_and_what_is_lost_is_said(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["NextOrderDataModule"] |= {"processed_dir": str(tmp_path / "gone")}
    torch.save(content, tmp_path / "moved.ckpt")
    folder = export_model(tmp_path / "moved.ckpt", tmp_path / "final")
    assert "will not know what catalogue it is of" in caplog.text
    assert json.loads((folder / "lit_rec.json").read_text())["context"] == asdict(ContextForm())
    assert not (folder / "catalogue.json").exists()


def test_there_is_nothing_that_unpickles_in_the_folder(model_dir: Path) -> None:
    suffixes = {file.suffix for file in model_dir.rglob("*") if file.is_file()}
    assert ".safetensors" in suffixes
    assert suffixes <= {".safetensors", ".json", ".txt", ".md"}


def test_a_folder_that_is_there_is_replaced_whole(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "leftover.json").write_text("{}")
    (tmp_path / "final" / "lit_rec.json").write_text('{"lit_rec_version": "0.1"}')
    export_model(checkpoint, tmp_path / "final")
    assert not (tmp_path / "final" / "leftover.json").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["final"]


def test_the_folder_of_the_run_is_refused_before_any_work(checkpoint: Path) -> None:
    run = checkpoint.parents[1]
    before = sorted(run.rglob("*"))
    with pytest.raises(FileError, match=r"it holds checkpoints, .*which would be lost"):
        export_model(Path("no such checkpoint"), run)
    assert sorted(run.rglob("*")) == before


def test_the_record_names_every_file_and_weights_can_be_read_by_others(model_dir: Path) -> None:
    written = json.loads((model_dir / "lit_rec.json").read_text())["sha256"]
    assert {"model.safetensors", "modules.json", "1_Pooling/config.json"} <= set(written)
    check_files(model_dir)
    (model_dir.parent / "new").touch()
    normal = (model_dir.parent / "new").stat().st_mode
    assert {file.stat().st_mode for file in model_dir.rglob("*") if file.is_file()} == {normal}


def with_ranker(folder: Path, record: object) -> dict[str, bytes]:
    """Two files as fit_ranker names them; returns what is in them."""
    (folder / "ranker.safetensors").write_bytes(b"weights")
    (folder / "ranker.json").write_text(json.dumps(record))
    return {name: (folder / name).read_bytes() for name in ("ranker.json", "ranker.safetensors")}


def test_a_ranker_of_the_same_data_is_kept(checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = export_model(checkpoint, tmp_path / "final")
    ranker = with_ranker(folder, {"data": json.loads((folder / "lit_rec.json").read_text())["data"]})
    with caplog.at_level("INFO", "lit_rec"):
        export_model(checkpoint, folder)
    assert {name: (folder / name).read_bytes() for name in ranker} == ranker
    assert "Kept the ranker" in caplog.text
    export_model(checkpoint, folder, ranker_follows=True)
    assert not (folder / "ranker.json").exists()


def test_a_ranker_of_other_data_is_not_deleted(checkpoint: Path, tmp_path: Path) -> None:
    folder = export_model(checkpoint, tmp_path / "final")
    ranker = with_ranker(folder, {"data": {"processed_dir": "processed/other", "sha256": {"a": "b"}}})
    with pytest.raises(FileError, match="the ranker was trained on processed/other"):
        export_model(checkpoint, folder)
    assert {name: (folder / name).read_bytes() for name in ranker} == ranker


def wrong_checkpoint(kind: str, file: Path, checkpoint: Path) -> None:
    if kind == "text":
        file.write_text("no checkpoint at all")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "cut":
        file.write_bytes(checkpoint.read_bytes()[:1000])
    elif kind == "zeros in a weight":
        content = bytearray(checkpoint.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(64)
        file.write_bytes(content)
    elif kind == "no checkpoint of Lightning":
        torch.save({"weight": torch.zeros(1)}, file)
    elif kind == "a list":
        torch.save([1, 2], file)
    elif kind == "with code in it":
        torch.save({"epoch": 0, "evil": print}, file)


@pytest.mark.parametrize(
    "kind",
    ["missing", "text", "empty", "cut", "zeros in a weight", "no checkpoint of Lightning", "a list", "with code in it"],
)
def test_a_wrong_checkpoint_is_named_and_what_was_there_stays(kind: str, checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "wrong.ckpt"
    wrong_checkpoint(kind, file, checkpoint)
    target = tmp_path / "models" / "final"
    target.mkdir(parents=True)
    before = '{"lit_rec_version": "of before"}'
    (target / "lit_rec.json").write_text(before)
    with pytest.raises(CheckpointError, match=r"wrong\.ckpt") as caught:
        export_model(file, target)
    assert "\n" not in str(caught.value)
    assert (target / "lit_rec.json").read_text() == before
    assert [path.name for path in target.parent.iterdir()] == ["final"]


def test_an_export_that_breaks_off_leaves_nothing_half_written(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    def full_disk(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lit_rec.training.export.write_json", full_disk)  # the last file of the folder
    with pytest.raises(OSError, match="No space left"):
        export_model(checkpoint, tmp_path / "final")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_whose_base_model_is_gone_says_so(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["base_model"] = str(tmp_path / "gone")
    torch.save(content, tmp_path / "moved.ckpt")
    with pytest.raises(ModelFolderError, match="gone"):
        export_model(tmp_path / "moved.ckpt", tmp_path / "final")


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_damaged_checkpoint_is_named_before_any_work(command: str, checkpoint: Path, tmp_path: Path) -> None:
    wrong_checkpoint("zeros in a weight", tmp_path / "wrong.ckpt", checkpoint)
    with pytest.raises(CheckpointError, match=r"wrong\.ckpt is damaged, or no checkpoint: its part"):
        main([command, "--ckpt_path", str(tmp_path / "wrong.ckpt")])
