"""Batches of orders and of pairs, queries with what is known of them, and the seed's own artefacts."""

import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset, load_from_disk

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError
from lit_rec.core.files import read_json, write_json
from lit_rec.core.schema import Split
from lit_rec.data.dataset import (
    EvaluationQueries,
    OrderDataset,
    PairDataset,
    QueryDataset,
    TextDataset,
    TokenCache,
    TrainingPairs,
)
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.processed_writer import write_processed
from lit_rec.data.settings import PrepareSettings
from lit_rec.data.tokens import TokenTable


def table_of(*rows):
    starts = np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64)))
    return TokenTable(np.array([token for row in rows for token in row], dtype=np.int32), starts, 0)


@pytest.fixture
def pairs():
    """Three orders of 2, 1 and 3 products; the first token of a text tells which it is."""
    return TrainingPairs(
        anchors=table_of([100, 1, 1], [101], [102, 1]),
        products=table_of([200, 1], [201, 1, 1], [202], [203]),
        pair_product=np.array([1, 2, 2, 0, 1, 2], dtype=np.int32),
        order_start=np.array([0, 2, 3, 6]),
    )


def first_tokens(chunks):
    return [int(row[0]) for chunk in chunks for row in chunk["input_ids"]]


def pairs_in(batch):
    """(anchor, product) of each pair, by the texts' first tokens."""
    anchors, products = first_tokens(batch["anchor"]), first_tokens(batch["product"])
    return [
        (anchors[a] - 100, products[p] - 200)
        for a, p in zip(batch["anchor_index"].tolist(), batch["product_index"].tolist(), strict=True)
    ]


def lengths_in(chunks):
    return [int(length) for chunk in chunks for length in chunk["attention_mask"].sum(1)]


def test_a_batch_of_orders_holds_all_their_pairs(pairs):
    assert pairs_in(OrderDataset(pairs)[np.array([2, 0])]) == [(2, 0), (2, 1), (2, 2), (0, 1), (0, 2)]


def test_a_batch_of_orders_encodes_each_text_once_shortest_first(pairs):
    batch = OrderDataset(pairs)[np.array([0, 1, 2])]
    assert sorted(first_tokens(batch["anchor"])) == [100, 101, 102]
    assert sorted(first_tokens(batch["product"])) == [200, 201, 202]
    assert lengths_in(batch["anchor"]) == [1, 2, 3]
    assert lengths_in(batch["product"]) == [1, 2, 3]
    assert batch["product_position"].tolist() == [2, 0, 1]


def test_a_batch_of_pairs_holds_those_pairs(pairs):
    dataset = PairDataset(pairs)
    assert len(dataset) == 6
    assert dataset.lengths.tolist() == [3, 3, 1, 2, 2, 2]
    assert pairs_in(dataset[np.array([5, 0, 4])]) == [(2, 2), (0, 1), (2, 1)]


def test_orders_are_counted_and_measured_by_their_contexts(pairs):
    assert len(OrderDataset(pairs)) == 3
    assert OrderDataset(pairs).lengths.tolist() == [3, 1, 2]


@pytest.mark.parametrize("dataset", [OrderDataset, PairDataset])
def test_padding_in_small_chunks_changes_no_pair(pairs, dataset):
    items = np.array([2, 0, 1])
    whole, chunked = dataset(pairs)[items], dataset(pairs, micro_batch_size=1)[items]
    assert pairs_in(whole) == pairs_in(chunked)
    assert [len(chunk["input_ids"]) for chunk in whole["anchor"]] == [len(first_tokens(whole["anchor"]))]
    assert all(len(chunk["input_ids"]) == 1 for chunk in chunked["anchor"] + chunked["product"])


def test_log_frequency_is_the_share_of_pairs_counted_once_more_than_seen(pairs):
    np.testing.assert_allclose(pairs.log_frequency(), np.log(np.array([2, 3, 4, 1]) / 10), rtol=1e-6)
    batch = OrderDataset(pairs)[np.array([0])]
    np.testing.assert_allclose(batch["log_frequency"], np.log([0.4, 0.3]), rtol=1e-6)  # products 2 and 1


def test_pairs_of_orders_come_order_by_order(pairs):
    assert pairs.pairs_of(np.array([2, 0])).tolist() == [3, 4, 5, 0, 1]


def test_texts_come_with_their_positions(pairs):
    batch = TextDataset(pairs.products)[np.array([3, 1])]
    assert first_tokens(batch["tokens"]) == [203, 201]
    assert batch["index"].tolist() == [3, 1]


def test_queries_come_with_relevant_and_history_filled_up(pairs):
    relevant = [np.array([1]), np.array([0, 3]), np.array([], dtype=np.int64)]
    history = [np.array([], dtype=np.int64)] * 3
    batch = QueryDataset(pairs.anchors, relevant, history)[np.array([2, 1, 0])]
    assert batch["relevant"].tolist() == [[-1, -1], [0, 3], [1, -1]]
    assert batch["history"].shape == (3, 0)
    assert batch["index"].tolist() == [2, 1, 0]


# --- from a processed folder ---


@pytest.fixture
def folder(make_random_tables, tmp_path):
    write_processed(make_random_tables(), PrepareSettings(eval_frac=0.5), tmp_path / "ours", {})
    return ProcessedFolder(tmp_path / "ours")


@pytest.fixture
def of_seed(folder, tmp_path):
    """The same folder as the Instacart seed writes it: pairs of texts alone, no history, no hashes."""
    theirs = tmp_path / "theirs"
    shutil.copytree(folder.path, theirs, ignore=shutil.ignore_patterns(schema.EVAL_HISTORY, schema.TRAIN_DATASET))
    train = load_from_disk(folder.path / schema.TRAIN_DATASET)
    Dataset.from_dict({name: train[name][:] for name in ("anchor", "positive")}).save_to_disk(theirs / "train_dataset")
    write_json(theirs / schema.PARAMS, {"eval_frac": 0.5, "n_corpus": 30})
    return ProcessedFolder(theirs)


def cached_pairs(folder, tokenizer):
    cache = TokenCache(folder, tokenizer)
    cache.build()
    return cache.training_pairs()


def test_cached_pairs_are_those_of_the_dataset(folder, word_tokenizer):
    tokenizer = word_tokenizer()
    pairs = cached_pairs(folder, tokenizer)
    rows = load_from_disk(folder.path / schema.TRAIN_DATASET).to_list()
    anchor_of = np.repeat(np.arange(len(pairs.anchors)), np.diff(pairs.order_start))
    ids = list(folder.corpus)
    assert [int(ids[product]) for product in pairs.pair_product] == [row["product_id"] for row in rows]
    for row, order in zip(rows, anchor_of, strict=True):
        start, end = pairs.anchors.starts[order : order + 2]
        assert pairs.anchors.ids[start:end].tolist() == tokenizer.token_ids([row["anchor"]])[0]
    assert len(pairs.anchors) == len({row["query_id"] for row in rows})


def test_queries_are_read_with_split_relevant_and_history(folder):
    queries = EvaluationQueries.read(folder)
    history = {str(row["query_id"]): row for row in load_from_disk(folder.path / schema.EVAL_HISTORY).to_list()}
    ids = np.array(list(folder.corpus))
    assert queries.query_ids == list(folder.queries)
    for row, query in enumerate(queries.query_ids):
        assert queries.splits[row] == history[query]["split"]
        assert set(ids[queries.relevant[row]]) == set(folder.relevant_docs[query])
        assert set(ids[queries.history[row]]) == {str(product) for product in history[query]["history_product_ids"]}
    val, test = queries.of_split(Split.VAL), queries.of_split(Split.TEST)
    assert sorted([*val, *test]) == queries.of_split(None).tolist()
    assert len(val) * len(test) > 0


def test_a_relevant_product_that_is_not_in_the_catalogue_is_left_out(folder):
    query = next(iter(folder.queries))
    known = next(iter(folder.corpus))
    write_json(folder.path / schema.EVAL_RELEVANT_DOCS, {**folder.relevant_docs, query: ["no such product", known]})
    assert EvaluationQueries.read(ProcessedFolder(folder.path)).relevant[0].tolist() == [0]


@pytest.mark.parametrize("name", [schema.EVAL_RELEVANT_DOCS, schema.EVAL_HISTORY])
def test_queries_of_another_run_are_refused(folder, name):
    write_json(folder.path / schema.EVAL_QUERIES, {**folder.queries, "1000001": "[w1h2] A."})
    if name == schema.EVAL_HISTORY:
        write_json(folder.path / schema.EVAL_RELEVANT_DOCS, {**folder.relevant_docs, "1000001": []})
    else:
        row = {**load_from_disk(folder.path / schema.EVAL_HISTORY)[0], "query_id": 1_000_001}
        rows = [*load_from_disk(folder.path / schema.EVAL_HISTORY).to_list(), row]
        shutil.rmtree(folder.path / schema.EVAL_HISTORY)
        Dataset.from_list(rows).save_to_disk(folder.path / schema.EVAL_HISTORY)
    with pytest.raises(ProcessedFolderError, match=rf"{name} does not fit .*1 queries .* such as 1000001"):
        EvaluationQueries.read(ProcessedFolder(folder.path))


def test_a_folder_of_ours_that_lost_its_history_is_not_whole(folder):
    shutil.rmtree(folder.path / schema.EVAL_HISTORY)
    with pytest.raises(NotPreparedError, match=r"eval_history is missing.*Run prepare again"):
        EvaluationQueries.read(folder)


def test_a_folder_without_pairs_says_so(make_random_tables, tmp_path, word_tokenizer):
    write_processed(make_random_tables(), PrepareSettings(eval_frac=1.0), tmp_path / "eval_only", {})
    with pytest.raises(NotPreparedError, match=r"nothing to train on: .*eval_frac 1.0.*smaller --eval_frac"):
        cached_pairs(ProcessedFolder(tmp_path / "eval_only"), word_tokenizer())


def test_the_cache_follows_the_tokenizer_and_the_content(folder, of_seed, word_tokenizer):
    path = TokenCache(folder, word_tokenizer()).path
    assert TokenCache(folder, word_tokenizer()).path == path
    assert TokenCache(folder, word_tokenizer("other")).path != path
    theirs = TokenCache(of_seed, word_tokenizer()).path.name
    write_json(of_seed.path / schema.EVAL_CORPUS, {**of_seed.corpus, "1": "changed"})
    assert TokenCache(ProcessedFolder(of_seed.path), word_tokenizer()).path.name != theirs


# --- the Instacart seed's artefacts ---


def test_pairs_of_the_seed_are_the_same_orders_and_products(folder, of_seed, word_tokenizer):
    ours, theirs = cached_pairs(folder, word_tokenizer()), cached_pairs(of_seed, word_tokenizer())
    np.testing.assert_array_equal(theirs.pair_product, ours.pair_product)
    np.testing.assert_array_equal(theirs.order_start, ours.order_start)
    np.testing.assert_array_equal(theirs.anchors.ids, ours.anchors.ids)
    batch = OrderDataset(theirs)[np.array([0, 1])]
    assert torch.equal(batch["product_position"], OrderDataset(ours)[np.array([0, 1])]["product_position"])


def test_a_pair_of_the_seed_that_is_not_in_the_catalogue_is_refused(of_seed, word_tokenizer):
    corpus = read_json(of_seed.path / schema.EVAL_CORPUS)
    gone = load_from_disk(of_seed.path / schema.TRAIN_DATASET)[0]["positive"]
    write_json(of_seed.path / schema.EVAL_CORPUS, {key: text for key, text in corpus.items() if text != gone})
    with pytest.raises(ProcessedFolderError, match=rf"does not fit eval_corpus.json.*{gone}.*Run prepare again"):
        cached_pairs(ProcessedFolder(of_seed.path), word_tokenizer())
    assert list((of_seed.path / schema.TOKEN_CACHE).iterdir()) == []


def test_queries_of_the_seed_have_empty_histories_and_a_split_that_is_said(of_seed, caplog):
    with caplog.at_level("WARNING"):
        queries = EvaluationQueries.read(of_seed)
    assert "empty histories" in caplog.text
    assert "half of them val and half test" in caplog.text
    assert all(len(history) == 0 for history in queries.history)
    val, test = queries.of_split(Split.VAL), queries.of_split(Split.TEST)
    assert sorted([*val, *test]) == queries.of_split(None).tolist()
    assert min(len(val), len(test)) > 0
    write_json(of_seed.path / schema.EVAL_QUERIES, dict(reversed(of_seed.queries.items())))
    again = EvaluationQueries.read(ProcessedFolder(of_seed.path))
    assert dict(zip(again.query_ids, again.splits, strict=True)) == dict(
        zip(queries.query_ids, queries.splits, strict=True)
    )
