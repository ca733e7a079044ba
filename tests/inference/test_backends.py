"""Every back end against sentence-transformers, its errors, and what each needs to be installed."""

import json
import shutil

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from lit_rec.core.errors import ModelFolderError, SettingError
from lit_rec.inference.backends import OnnxBackend, StaticBackend, TorchBackend, is_static_folder, load_backend
from lit_rec.models.encoder import TextEncoder

CLOSE = 1e-5
LONG = "[+7d w4h14] milk, bread, soap; " * 30
TEXTS = [
    "milk",
    "",
    "  two  spaces \n and a line",
    "Crème brûlée 茶 2.5% Dr. X",
    LONG,
    *[f"{'milk ' * n}soap" for n in range(20)],
]


def by_sentence_transformers(model, texts=TEXTS):
    return SentenceTransformer(str(model), device="cpu").encode(texts, normalize_embeddings=True)


def edited(model, to, name, **changes):
    folder = shutil.copytree(model, to)
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | changes))
    return folder


@pytest.fixture(scope="module")
def static(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("static") / "model"
    added_tokens = ["Organic Milk", "two spaces"]
    TextEncoder(str(tiny_model), kind="static", added_tokens=added_tokens, max_seq_length=40).save(folder)
    return folder


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_transformer_equals_sentence_transformers(onnx_model, backend):
    encoder = load_backend(onnx_model, backend, device="cpu", batch_size=7)
    embeddings = encoder.encode(TEXTS)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, by_sentence_transformers(onnx_model), atol=CLOSE)
    assert not np.allclose(embeddings[4], encoder.encode([LONG[: len(LONG) // 2 - 30]])[0], atol=1e-3), (
        "cut at the left"
    )


def test_a_static_encoder_equals_sentence_transformers_without_torch(static):
    assert is_static_folder(static)
    encoder = load_backend(static, "onnx")
    assert isinstance(encoder, StaticBackend)
    expected = by_sentence_transformers(static)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=CLOSE)
    assert not expected[1].any(), "no token, no direction"
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], expected, atol=CLOSE)


@pytest.mark.parametrize("folder", ["onnx_model", "static"])
def test_a_default_prompt_is_put_in_front(folder, request, tmp_path):
    model = request.getfixturevalue(folder)
    changed = edited(
        model,
        tmp_path / "model",
        "config_sentence_transformers.json",
        prompts={"query": "soap "},
        default_prompt_name="query",
    )
    plain, prompted = load_backend(model, "onnx"), load_backend(changed, "onnx")
    np.testing.assert_allclose(prompted.encode(TEXTS), by_sentence_transformers(changed), atol=CLOSE)
    assert not np.allclose(prompted.encode(["milk"]), plain.encode(["milk"]), atol=1e-3)
    assert prompted.fingerprint != plain.fingerprint


@pytest.mark.parametrize(("folder", "backend"), [("onnx_model", "torch"), ("onnx_model", "onnx"), ("static", "onnx")])
def test_no_texts_and_the_fingerprint(folder, backend, request, tmp_path):
    model = request.getfixturevalue(folder)
    encoder = load_backend(model, backend, device="cpu")
    assert encoder.encode([]).shape == (0, 16)
    copy = shutil.copytree(model, tmp_path / "elsewhere")
    assert load_backend(copy, backend, device="cpu").fingerprint == encoder.fingerprint


def test_progress_changes_no_embedding(onnx_model):
    encoder = OnnxBackend(onnx_model, batch_size=3)
    np.testing.assert_array_equal(encoder.encode(TEXTS, show_progress=True), encoder.encode(TEXTS))


def test_back_ends_that_are_none(onnx_model, static):
    with pytest.raises(SettingError, match=r"'tensorrt'. Take one of torch, onnx, onnx_int8"):
        load_backend(onnx_model, "tensorrt")
    with pytest.raises(SettingError, match="no layers to compute in int8"):
        load_backend(static, "onnx_int8")
    with pytest.raises(SettingError, match="computes on the CPU: device is 'cuda'"):
        load_backend(onnx_model, "onnx", device="cuda")


def test_a_model_without_the_graph(onnx_model):
    with pytest.raises(ModelFolderError, match=r"there is no onnx/model_int8.onnx"):
        OnnxBackend(onnx_model, int8=True)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_damaged_graph(onnx_model, tmp_path, name):
    folder = shutil.copytree(onnx_model, tmp_path / "model")
    (folder / "onnx" / name).write_bytes((folder / "onnx" / name).read_bytes()[:100])
    with pytest.raises(ModelFolderError, match=r"The ONNX encoder of .* cannot be loaded"):
        OnnxBackend(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "modules.json"])
def test_a_damaged_static_encoder(static, tmp_path, name):
    folder = shutil.copytree(static, tmp_path / "model")
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(ModelFolderError):
        load_backend(folder, "onnx")


def test_the_torch_encoder_says_what_it_is(onnx_model):
    encoder = TorchBackend(onnx_model, device="cpu", batch_size=3)
    assert (encoder.name, encoder.device, encoder.batch_size) == (str(onnx_model), "cpu", 3)
    assert not is_static_folder(onnx_model)


def test_an_encoder_reads_like_another(tiny_model, onnx_model, static):
    left = TorchBackend(onnx_model, device="cpu")  # the same weights, cut at the left at 40 tokens
    encoder = TorchBackend(tiny_model, device="cpu")
    whole, fingerprint = encoder.encode(TEXTS), encoder.fingerprint
    encoder.copy_truncation(left)
    np.testing.assert_allclose(encoder.encode(TEXTS), left.encode(TEXTS), atol=CLOSE)
    assert np.abs(encoder.encode([LONG]) - whole[TEXTS.index(LONG)]).max() > CLOSE
    assert encoder.fingerprint != fingerprint, "the index of the catalogue is another one"
    before = left.fingerprint
    left.copy_truncation(TorchBackend(static, device="cpu"))
    assert (left.fingerprint, left.model.max_seq_length) == (before, 40)


SERVING = """
from pathlib import Path

from lit_rec.inference.backends import load_backend
from lit_rec.packaging.bundle import Bundle
from lit_rec.inference.recommender import Recommender

recommender = Recommender(sys.argv[1], sys.argv[2], encoder=load_backend(sys.argv[1], "onnx"), use_index=False)
print([item.product_id for item in recommender.recommend("milk")])
"""


@pytest.mark.parametrize("folder", ["onnx_model", "static"])
def test_serving_by_onnx_works_where_torch_is_not_installed(folder, request, processed_dir, run_without):
    model, corpus = request.getfixturevalue(folder), processed_dir / "eval_corpus.json"
    from lit_rec.inference.recommender import Recommender

    missing = "torch huggingface_hub sentence_transformers transformers sklearn datasets polars lightning"
    served = run_without(missing, SERVING, model, corpus, warnings="error")
    expected = [item.product_id for item in Recommender(model, corpus, use_index=False, device="cpu").recommend("milk")]
    assert served == str(expected)
