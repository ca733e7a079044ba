"""A base model that puts a default prompt before every text: training, export and every back end read the same."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from lit_rec.cli.main import main
from lit_rec.core.errors import CheckpointError, SettingError
from lit_rec.core.schema import Backend, Split
from lit_rec.data.dataset import padded
from lit_rec.data.processed import ProcessedFolder
from lit_rec.evaluation.held_out import read_held_out
from lit_rec.metrics.retrieval import per_query
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.models.encoder import TextEncoder
from lit_rec.packaging.bundle import write_bundle
from lit_rec.packaging.onnx_export import export_onnx

PROMPT = "product aisle: "


def with_prompt(model: Path, to: Path, prompt: str = PROMPT, *, include_prompt: bool = True) -> Path:
    folder = shutil.copytree(model, to)
    file = folder / "config_sentence_transformers.json"
    settings = json.loads(file.read_text()) | {"prompts": {"query": prompt}, "default_prompt_name": "query"}
    file.write_text(json.dumps(settings))
    (pooling,) = folder.glob("*_Pooling/config.json")
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | {"include_prompt": include_prompt}))
    return folder


@pytest.fixture(scope="module")
def trained(tiny_model: Path, processed_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a short training from a base model with a prompt, which its own pooling would leave out."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    base = with_prompt(tiny_model, folder / "base", include_prompt=False)
    words = ["--model.base_model", base, "--model.max_seq_length", 48, "--model.learning_rate", 1e-2]
    words += ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.limit_train_batches", 3]
    words += ["--trainer.log_every_n_steps", 1, "--data.processed_dir", processed_dir]
    words += ["--wandb", "off", "--output_dir", folder]
    main(["fit", *map(str, words)])
    main(["export", "--ckpt_path", str(folder / "checkpoints" / "last.ckpt"), "--output_dir", str(folder / "final")])
    return folder / "final"


@pytest.mark.parametrize("backend", ["sentence-transformers", "torch", "onnx"])
def test_every_back_end_finds_what_training_measured(
    backend: str, trained: Path, processed_dir: Path, tmp_path: Path
) -> None:
    held_out = read_held_out(ProcessedFolder(processed_dir), Split.VAL)
    corpus = processed_dir / "eval_corpus.json"
    if backend == "sentence-transformers":
        encode = SentenceTransformer(str(trained), device="cpu").encode
    else:
        bundle = write_bundle(
            trained, Path(shutil.copy(corpus, tmp_path)), tmp_path / "bundle", name="tiny", backend=Backend(backend)
        )
        encode = bundle.recommender(device="cpu").encoder.encode
    texts = list(ProcessedFolder(processed_dir).corpus.values())
    scores = torch.from_numpy(encode(held_out.queries.contexts) @ encode(texts).T)
    ranked = scores.argsort(dim=1, descending=True, stable=True)
    found = per_query(ranked, padded(held_out.relevant), padded(held_out.history))["ndcg@10"].mean()
    recorded = json.loads((trained / "lit_rec.json").read_text())["metrics"]["epoch 0"]["ndcg@10"]
    assert float(found) == pytest.approx(recorded, abs=1e-6)


@pytest.mark.parametrize("kind", ["transformer", "static"])
def test_the_tokens_that_are_trained_on_begin_with_the_prompt_and_another_prompt_is_another_model(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    plain = TextEncoder(str(tiny_model), kind=kind, max_seq_length=48)
    plain.save(tmp_path / "plain")
    model = plain.sentence_transformer
    model.prompts, model.default_prompt_name = {"query": PROMPT}, "query"
    plain.save(tmp_path / "prompted")
    prompted = TextEncoder(str(tmp_path / "prompted"), max_seq_length=48)
    assert prompted.token_ids(["milk"]) == TextEncoder(str(tmp_path / "plain"), max_seq_length=48).token_ids(
        [PROMPT + "milk"]
    )
    assert prompted.fingerprint != plain.fingerprint, "tokens kept on disk, and checkpoints, of another prompt"


def test_a_checkpoint_that_was_trained_without_the_prompt_of_its_base_model_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    model, checkpoint = BiEncoder(base_model=str(tiny_model), max_seq_length=48), {}
    model.on_save_checkpoint(checkpoint)
    prompted = BiEncoder(base_model=str(with_prompt(tiny_model, tmp_path / "prompted")), max_seq_length=48)
    with pytest.raises(CheckpointError, match="tokens are not those"):
        prompted.on_load_checkpoint(checkpoint)


def test_a_graph_cannot_leave_the_prompt_out_of_the_mean(tiny_model: Path, tmp_path: Path) -> None:
    model = with_prompt(tiny_model, tmp_path / "model", include_prompt=False)
    with pytest.raises(SettingError, match=r"leaves its default prompt out.*torch"):
        export_onnx(model)
