"""The recommender against brute force, its caches, its errors, and what it needs to be installed."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from lit_rec.core.errors import ModelFolderError, NotPreparedError, ProcessedFolderError, SettingError
from lit_rec.data.processed import read_corpus
from lit_rec.inference.backends import model_fingerprint
from lit_rec.inference.index import EmbeddingIndex
from lit_rec.inference.recommender import Recommender, load_recommender

CLOSE = 1e-5  # float32 cosines, encoded in other batches


@pytest.fixture(scope="module")
def corpus_file(processed_dir, tmp_path_factory):
    """The processed folder's corpus, in a folder of this module's own."""
    return Path(shutil.copy(processed_dir / "eval_corpus.json", tmp_path_factory.mktemp("corpus")))


@pytest.fixture(scope="module")
def queries(processed_dir):
    return list(json.loads((processed_dir / "eval_queries.json").read_text(encoding="utf-8")).values())[:3]


@pytest.fixture(scope="module")
def corpus(corpus_file):
    return json.loads(corpus_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cosines(tiny_model, corpus, queries):
    """Brute force: for each query, product id to cosine, by plain SentenceTransformer."""
    plain = SentenceTransformer(str(tiny_model), device="cpu")
    products, contexts = plain.encode(list(corpus.values())), plain.encode(queries)
    products, contexts = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (products, contexts))
    return [dict(zip(corpus, row, strict=True)) for row in (contexts @ products.T).tolist()]


@pytest.fixture(scope="module")
def recommender(tiny_model, corpus_file):
    return Recommender(tiny_model, corpus_file)


@pytest.fixture
def own(tiny_model, tmp_path):
    """A model folder and a small corpus that a test may change."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    corpus = tmp_path / "catalogue" / "eval_corpus.json"
    corpus.parent.mkdir()
    corpus.write_text(json.dumps({"1": "Product: milk.", "2": "Product: bread.", "3": "Product: soap."}))
    return model, corpus


def retrain(model_dir):
    """Change the weights in place, as training into the same folder does."""
    model = SentenceTransformer(str(model_dir), device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter))
    model.save(str(model_dir))


def assert_best_of(answer, cosines, top_k):
    """The scores are those of the best top_k, and each is its own product's; near-ties may change places."""
    ids = [item.product_id for item in answer]
    assert len(set(ids)) == len(ids) == min(top_k, len(cosines))
    scores = [item.score for item in answer]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx(sorted(cosines.values(), reverse=True)[:top_k], abs=CLOSE)
    assert scores == pytest.approx([cosines[product_id] for product_id in ids], abs=CLOSE)


@pytest.mark.parametrize("top_k", [1, 10, 10_000], ids=["one", "ten", "more than there are"])
def test_equals_brute_force(recommender, queries, corpus, cosines, top_k):
    assert max(cosines[0].values()) - min(cosines[0].values()) > 1_000 * CLOSE, "the tiny model tells products apart"
    answers = recommender.recommend_many(queries, top_k)
    for query, answer, expected in zip(queries, answers, cosines, strict=True):
        assert_best_of(answer, expected, top_k)
        assert_best_of(recommender.recommend(query, top_k), expected, top_k)
        assert all(item.product_text == corpus[item.product_id] for item in answer)


def test_a_products_own_text_finds_it_first(recommender, corpus):
    product_id, text = list(corpus.items())[17]
    best = recommender.recommend(text, 1)[0]
    assert best.score == pytest.approx(1, abs=CLOSE)
    assert best.product_text == text
    assert best.product_id == product_id


def test_scores_are_cosines_under_a_model_that_does_not_normalise(own):
    model, corpus = own
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps(modules[:2]))
    assert np.linalg.norm(SentenceTransformer(str(model), device="cpu").encode("milk")) != pytest.approx(1, abs=0.1)
    best = Recommender(model, corpus).recommend("Product: milk.", 3)
    assert best[0].product_id == "1"
    assert best[0].score == pytest.approx(1, abs=CLOSE)
    assert best[2].score < 1 - CLOSE


def test_ten_are_recommended_unless_told_otherwise(recommender, queries):
    assert len(recommender.recommend(queries[0])) == 10


def test_no_queries_no_answers(recommender):
    assert recommender.recommend_many([]) == []


@pytest.mark.parametrize("top_k", [0, -3])
def test_top_k_below_one(recommender, queries, top_k):
    for call in (recommender.recommend, lambda query, k: recommender.recommend_many([], k)):
        with pytest.raises(SettingError, match=f"at least 1: got {top_k}"):
            call(queries[0], top_k)


@pytest.mark.parametrize("kind", [list, set, tuple, frozenset])
def test_excluded_products_are_never_recommended_and_the_list_is_full(recommender, queries, cosines, kind):
    best = [item.product_id for item in recommender.recommend(queries[0], 7)]
    left = {product_id: score for product_id, score in cosines[0].items() if product_id not in best}
    answer = recommender.recommend(queries[0], 10, kind([*best, "no such product"]))
    assert_best_of(answer, left, 10)


def test_all_but_two_excluded(recommender, queries, corpus, cosines):
    *excluded, one, two = corpus
    answer = recommender.recommend(queries[0], 10, excluded)
    assert {item.product_id for item in answer} == {one, two}
    assert recommender.recommend(queries[0], 10, list(corpus)) == []


# --- what is kept on disk


def kept_indexes(corpus_file):
    return sorted(corpus_file.parent.glob(".embedding_index/*/manifest.json"))


def test_the_second_start_takes_the_embeddings_from_disk(own, caplog):
    caplog.set_level("INFO", logger="lit_rec")
    model, corpus = own
    built = Recommender(model, corpus)
    assert "Encoding 3 products" in caplog.text
    assert len(kept_indexes(corpus)) == 1
    caplog.clear()
    loaded = Recommender(shutil.copytree(model, model.with_name("the same weights elsewhere")), corpus)
    assert "Encoding" not in caplog.text
    np.testing.assert_array_equal(loaded.index.embeddings, built.index.embeddings)


def test_without_index_nothing_is_written_and_the_answer_is_the_same(own):
    model, corpus = own
    before = sorted(corpus.parent.rglob("*"))
    answer = Recommender(model, corpus, use_index=False).recommend("bread")
    assert sorted(corpus.parent.rglob("*")) == before
    assert Recommender(model, corpus).recommend("bread") == answer


@pytest.mark.parametrize("load", [Recommender, load_recommender])
def test_retraining_into_the_same_folder_never_serves_stale_embeddings(own, load):
    model, corpus = own
    before = load(model, corpus).recommend("milk", 3)
    retrain(model)
    after = load(model, corpus)
    fresh = SentenceTransformer(str(model), device="cpu").encode(list(after.corpus.values()), normalize_embeddings=True)
    np.testing.assert_allclose(after.index.embeddings, fresh, atol=CLOSE)
    assert [item.score for item in after.recommend("milk", 3)] != [item.score for item in before]
    assert len(kept_indexes(corpus)) == 2


def test_a_corpus_written_anew_is_read_anew(own):
    model, corpus = own
    load_recommender(model, corpus)
    corpus.write_text(json.dumps({"4": "Product: soap.", "5": "Product: milk."}))
    assert {item.product_id for item in load_recommender(model, corpus).recommend("milk")} == {"4", "5"}


def _edit_json(name, **changes):
    def edit(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changes))

    return edit


def _other_vocabulary(folder):
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["milk"], vocabulary["bread"] = vocabulary["bread"], vocabulary["milk"]
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(retrain, id="weights"),
        pytest.param(_edit_json("config.json", hidden_act="relu"), id="activation, which has no weights"),
        pytest.param(_edit_json("1_Pooling/config.json", pooling_mode="cls"), id="pooling"),
        pytest.param(_edit_json("tokenizer_config.json", model_max_length=5), id="length"),
        pytest.param(_other_vocabulary, id="vocabulary"),
        pytest.param(
            _edit_json("config_sentence_transformers.json", prompts={"p": "soap "}, default_prompt_name="p"),
            id="prompt",
        ),
    ],
)
def test_the_fingerprint_changes_when_an_embedding_would(own, edit):
    texts = ["a loaf of bread and some more milk and soap"]
    before = SentenceTransformer(str(own[0]), device="cpu")
    edit(own[0])
    after = SentenceTransformer(str(own[0]), device="cpu")
    assert not np.allclose(before.encode(texts), after.encode(texts), atol=CLOSE), "the edit matters"
    assert model_fingerprint(before) != model_fingerprint(after)


def test_the_fingerprint_does_not_depend_on_path_or_use(own, tmp_path):
    first = SentenceTransformer(str(own[0]), device="cpu")
    fingerprint = model_fingerprint(first)
    first.encode(["milk", "bread and soap"])
    assert model_fingerprint(first) == fingerprint
    second = SentenceTransformer(str(shutil.copytree(own[0], tmp_path / "copy")), device="cpu")
    assert model_fingerprint(second) == fingerprint


# --- one instance a process


def test_one_instance_for_a_model_and_corpus(own, tmp_path, monkeypatch, caplog):
    model, corpus = own
    first = load_recommender(model, corpus)
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", logger="lit_rec")
    (tmp_path / "link").symlink_to(model)
    for same in ("model", "./catalogue/../model", str(model), "link"):
        assert load_recommender(same, corpus.relative_to(tmp_path)) is first
    assert caplog.text.count("Reusing the recommender") == 4
    assert load_recommender(model, corpus, device="cpu") is first
    assert caplog.text.count("Reusing the recommender") == 5

    assert load_recommender(model, corpus, use_index=False) is not first
    assert load_recommender(shutil.copytree(model, tmp_path / "second"), corpus) is not first
    assert load_recommender(model, shutil.copy(corpus, tmp_path / "other.json")) is not first
    assert load_recommender(model, corpus) is first


def test_four_threads_share_one_instance(own, caplog):
    caplog.set_level("INFO", logger="lit_rec")
    start = threading.Barrier(4)

    def load(_):
        start.wait()
        return load_recommender(*own)

    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load, range(4)))
    assert len({id(one) for one in loaded}) == 1
    assert caplog.text.count("Encoding 3 products") == 1


# --- errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is no JSON", id="empty"),
        pytest.param(b'{"1": "milk"', "is no JSON", id="cut off"),
        pytest.param(b'{"1": "\xff"}', "is no JSON", id="no UTF-8"),
        pytest.param(b"[]", "found nothing", id="empty list"),
        pytest.param(b"{}", "found nothing", id="no product"),
        pytest.param(b"null", "found nothing", id="null"),
        pytest.param(b'["milk"]', "found list", id="list"),
        pytest.param(b'{"1": "milk", "2": 3}', "must map product ids to texts", id="a number for a text"),
    ],
)
def test_a_corpus_of_the_wrong_form(tmp_path, content, message):
    file = tmp_path / "eval_corpus.json"
    file.write_bytes(content)
    with pytest.raises(ProcessedFolderError, match=message) as caught:
        read_corpus(file)
    assert not isinstance(caught.value, FileNotFoundError)
    assert str(file) in str(caught.value)
    assert "Run prepare again" in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.json", "."], ids=["no file", "a folder"])
def test_no_corpus(tmp_path, tiny_model, name):
    with pytest.raises(NotPreparedError, match="Run prepare") as caught:
        read_corpus(tmp_path / name)
    assert isinstance(caught.value, FileNotFoundError)
    for load in (Recommender, load_recommender):
        with pytest.raises(NotPreparedError, match="No corpus at"):
            load(tiny_model, tmp_path / name)


def test_a_corpus_keeps_order_and_letters(tmp_path):
    file = tmp_path / "corpus.json"
    file.write_text('{"10": "Crème Brûlée", "9": "", "011": "茶"}', encoding="utf-8")
    assert list(read_corpus(file).items()) == [("10", "Crème Brûlée"), ("9", ""), ("011", "茶")]


@pytest.mark.parametrize("load", [Recommender, load_recommender])
def test_a_model_that_cannot_be_had_says_what_to_do(own, load):
    with pytest.raises(ModelFolderError, match="nobody/no-such-model") as caught:
        load("nobody/no-such-model", own[1])
    assert "Name a folder that SentenceTransformer saved" in str(caught.value)
    assert "pip install" in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_folder_without_a_model(own):
    (own[0] / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match="No model could be loaded from"):
        Recommender(*own)


@pytest.mark.parametrize("load", [Recommender, load_recommender])
def test_an_unknown_device(own, load, monkeypatch):
    with pytest.raises(SettingError, match=r"No device 'abacus' here: found .*cpu"):
        load(*own, device="abacus")
    monkeypatch.setenv("INFERENCE_DEVICE", "slide rule")
    with pytest.raises(SettingError, match="slide rule"):
        load(*own)
    assert load(*own, device="cpu").encoder.device == "cpu", "what is asked wins over the environment"


def test_weights_that_are_no_numbers_are_an_error_and_no_empty_answer(own):
    recommender = Recommender(*own)
    recommender.index = EmbeddingIndex(
        recommender.index.product_ids, np.full_like(recommender.index.embeddings, np.nan)
    )
    with pytest.raises(SettingError, match="NaN"):
        recommender.recommend("milk", 1)


# --- what serving needs

SERVING = """
from lit_rec.inference.recommender import load_recommender

print([item.product_id for item in load_recommender(sys.argv[1], sys.argv[2]).recommend("milk")])
own = sorted(name for name in sys.modules if name.startswith("lit_rec."))
training = ("lit_rec.training", "lit_rec.ranking.training", "lit_rec.models", "lit_rec.metrics.retrieval")
never = (*training, "lit_rec.evaluation", "lit_rec.data.prepare", "lit_rec.data.dat")
assert not any(name.startswith(never) for name in own), own
assert "lit_rec.ranking.training" not in own and "lit_rec.ranking.module" not in own, own
"""


def test_serving_works_where_nothing_that_only_training_needs_is_installed(own, run_without):
    served = run_without("lightning torchmetrics wandb datasets polars matplotlib", SERVING, *own)
    expected = [item.product_id for item in Recommender(*own).recommend("milk")]
    assert served == str(expected)
