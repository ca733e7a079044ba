"""Untrained against trained: what is measured, drawn and said; a collapsed model is found out."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from lit_rec.cli.main import main
from lit_rec.core.errors import SettingError
from lit_rec.core.schema import Split
from lit_rec.data.processed import ProcessedFolder
from lit_rec.evaluation import compare as comparison
from lit_rec.evaluation.compare import compare, draw_sample, encode, make_report, recorded_base_model
from lit_rec.evaluation.embedding_report import (
    EmbeddingReport,
    EmbeddingState,
    diagnosis,
    random_pair_cosines,
    singular_value_shares,
)
from lit_rec.evaluation.measure import measure
from lit_rec.evaluation.settings import ComparisonSettings
from lit_rec.inference.backends import TorchBackend

PNG = b"\x89PNG"


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """A model this small is slower with more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(processed_dir, tmp_path_factory):
    """A copy of the processed folder, for indexes of this module's own."""
    return shutil.copytree(processed_dir, tmp_path_factory.mktemp("data") / processed_dir.name)


@pytest.fixture(scope="module")
def collapsed_model(tiny_model, tmp_path_factory):
    """All texts are the same vector, almost."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    with torch.no_grad():
        model[0].auto_model.encoder.layer[-1].output.LayerNorm.weight.mul_(1e-2)
        model[0].auto_model.encoder.layer[-1].output.LayerNorm.bias.add_(1.0)
    saved = tmp_path_factory.mktemp("collapsed") / "model"
    model.save(str(saved))
    return saved


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(n=500, d=32, common=0.0, seed=0):
    """Directions at random, pulled towards one by ``common``."""
    vectors = np.random.default_rng(seed).normal(size=(n, d)) / d**0.5
    vectors[:, 0] += common
    return unit(vectors)


def measured(tiny_model, folder, held_out):
    """The encoded model and its results."""
    model = encode(TorchBackend(tiny_model, device="cpu"), ProcessedFolder(folder), held_out)
    return model, measure(model, held_out)


def test_the_command_prints_writes_and_draws(folder, tiny_model, collapsed_model, tmp_path, capsys):
    words = ["compare", "--model_dir", str(collapsed_model), "--base_model", str(tiny_model), "--device", "cpu"]
    words += ["--processed_dir", str(folder), "--sample_queries", "6"]
    report = main([*words, "--json", str(tmp_path / "sub" / "report.json"), "--plots", str(tmp_path / "plots")])
    assert json.loads((tmp_path / "sub" / "report.json").read_text()) == report
    assert report["n_queries"] == 6
    assert set(report["metrics"]) == {"untrained", "trained"}
    assert report["metrics"]["trained"]["ndcg@10"] >= 0
    assert report["state"] == "collapsed"
    assert report["diagnosis"].startswith("Collapsed: products and queries are almost the same vector")
    assert report["embedding_report"]["trained"]["products"]["mean_cosine"] > 0.95
    plots = sorted(tmp_path.glob("plots/*"))
    assert [file.name for file in plots] == ["metrics.png", "pair_cosines.png", "singular_values.png"]
    assert all(file.read_bytes().startswith(PNG) for file in plots)
    printed = " ".join(capsys.readouterr().out.split())
    for expected in ("ndcg@10", "products: mean_cosine", "Collapsed: products", "Next", "python -m lit_rec evaluate"):
        assert expected in printed
    assert main(words)["metrics"] == report["metrics"], "the sample is seeded"


def test_a_model_against_itself_makes_no_difference(folder, tiny_model):
    sample = draw_sample(ProcessedFolder(folder), Split.TEST, None, seed=0)
    model, result = measured(tiny_model, folder, sample)
    both = ("untrained", "trained")
    report = make_report(dict.fromkeys(both, model), dict.fromkeys(both, result), n_resamples=50)
    assert report["differences"]["ndcg@10"] == {"difference": 0, "low": 0, "high": 0}
    assert "made no difference" in report["diagnosis"]


def test_the_untrained_model_cuts_contexts_as_the_trained_one(folder, tiny_model, onnx_model, monkeypatch):
    sample = draw_sample(ProcessedFolder(folder), Split.TEST, None, seed=0)
    filler = "[+7d w4h14] milk, bread, soap; " * 30
    queries = replace(sample.queries, contexts=[filler + text for text in sample.queries.contexts])
    long = replace(sample, queries=queries)  # the newest order is at the end
    monkeypatch.setattr(comparison, "draw_sample", lambda *_: long)
    settings = ComparisonSettings(base_model=str(tiny_model), processed_dir=folder, device="cpu", n_resamples=50)
    report = compare(str(onnx_model), settings)  # the same weights
    assert report["differences"]["ndcg@10"]["difference"] == 0
    own_way = measured(tiny_model, folder, long)[1].means()["map@100"]
    assert report["metrics"]["untrained"]["map@100"] != own_way


def test_metrics_are_those_of_the_librarys_evaluator(folder, tiny_model):
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    processed = ProcessedFolder(folder)
    sample = draw_sample(processed, Split.TEST, 7, seed=3)
    means = measured(tiny_model, folder, sample)[1].means()
    id_of = {text: query_id for query_id, text in processed.queries.items()}
    queries = {id_of[text]: text for text in sample.queries.contexts}
    relevant = {query_id: set(processed.relevant_docs[query_id]) for query_id in queries}
    model = SentenceTransformer(str(tiny_model), device="cpu")
    theirs = InformationRetrievalEvaluator(queries, processed.corpus, relevant, main_score_function="cosine")(model)
    for ours, name in (("ndcg@10", "cosine_ndcg@10"), ("recall@10", "cosine_recall@10"), ("mrr@10", "cosine_mrr@10")):
        assert means[ours] == pytest.approx(theirs[name], abs=1e-6)


def test_samples_are_seeded_parts_of_a_split(folder):
    processed = ProcessedFolder(folder)
    whole = draw_sample(processed, Split.TEST, None, seed=0).query_ids
    some = draw_sample(processed, Split.TEST, 5, seed=1).query_ids
    assert len(some) == 5
    assert set(some) <= set(whole)
    assert (
        some
        == draw_sample(processed, Split.TEST, 5, seed=1).query_ids
        != draw_sample(processed, Split.TEST, 5, 2).query_ids
    )
    assert not set(whole) & set(draw_sample(processed, Split.VAL, None, seed=0).query_ids)
    assert len(draw_sample(processed, Split.TEST, 10**6, seed=0).query_ids) == len(whole)
    with pytest.raises(SettingError, match="sample_queries must be at least 2: got 1"):
        ComparisonSettings(sample_queries=1)


def test_the_base_model_is_what_the_folder_records(tmp_path):
    (tmp_path / "lit_rec.json").write_text(json.dumps({"model": {"base_model": "some/base"}}))
    assert recorded_base_model(str(tmp_path)) == "some/base"
    assert recorded_base_model(str(tmp_path / "nothing")) == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        (random_vectors(), EmbeddingState.HEALTHY),
        (random_vectors(common=2.5), EmbeddingState.ANISOTROPIC),
        (random_vectors(common=30.0), EmbeddingState.COLLAPSED),
        (np.repeat(random_vectors(n=1), 50, axis=0), EmbeddingState.COLLAPSED),
        (unit(np.pad(random_vectors(d=2), ((0, 0), (0, 126)))), EmbeddingState.COLLAPSED),  # a plane of 128 dimensions
        (random_vectors(n=20, d=384), EmbeddingState.HEALTHY),  # few texts cannot have many directions
    ],
)
def test_collapse_is_told_from_a_healthy_space(vectors, expected):
    assert EmbeddingReport.of(vectors).state == expected


def test_the_diagnosis_names_the_worse_side_its_figures_and_the_limits():
    healthy, narrow = EmbeddingReport.of(random_vectors()), EmbeddingReport.of(random_vectors(common=2.5))
    state, words = diagnosis(products=healthy, queries=narrow)
    assert state == EmbeddingState.ANISOTROPIC
    assert words.startswith("Anisotropic: queries share much")
    assert "above 0.75" in words
    assert diagnosis(products=healthy, queries=healthy)[1].startswith("Healthy")


def test_pairs_are_seeded_and_of_different_rows():
    vectors = np.eye(4, dtype=np.float32)
    assert random_pair_cosines(vectors, 1000).max() == 0
    mean = EmbeddingReport.of(random_vectors(common=1.0)).mean_cosine
    exact = random_vectors(common=1.0) @ random_vectors(common=1.0).T
    assert mean == pytest.approx((exact.sum() - 500) / (500 * 499), abs=0.01)
    with pytest.raises(SettingError, match="2 texts"):
        random_pair_cosines(vectors[:1])


def test_the_spectrum_is_that_of_the_centred_vectors():
    vectors = random_vectors(n=40, d=6)
    expected = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    assert singular_value_shares(vectors) == pytest.approx(expected / expected.sum(), abs=1e-6)
    assert singular_value_shares(np.ones((3, 4), dtype=np.float32)).sum() == 0
