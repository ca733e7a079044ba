"""Feedback pairs beside those of a processed folder: every one of them, with its weight, in the right batch."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError, SettingError
from lit_rec.core.files import read_json, write_json
from lit_rec.data.arrow_files import write_dataset
from lit_rec.data.datamodule import NextOrderDataModule
from lit_rec.data.dataset import ANCHORS, TokenCache
from lit_rec.data.feedback_pairs import FeedbackPairs
from lit_rec.data.processed import ProcessedFolder, content_hashes
from lit_rec.data.tokens import read_tokens
from lit_rec.models.encoder import TextEncoder

POSITIVES = [(3, "4", 0.5), (3, "7", 1.5), (8, "4", 1.0)]  # request, product, weight
NEGATIVES = [(8, "9", 0.5), (3, "1", 1.0), (8, "2", 0.75)]  # of the requests in another order
CONTEXTS = {3: "[w1h9] Bananas, Tomatoes.", 8: "[w2h10] Apples; [+7d w2h11] Carrots."}


def write_feedback(folder, positives=POSITIVES, negatives=NEGATIVES):
    folder.mkdir()
    for name, text, rows in (
        (schema.TRAIN_DATASET, "positive", positives),
        (schema.NEGATIVES_DATASET, "negative", negatives),
    ):
        columns = {
            schema.ANCHOR: pa.array([CONTEXTS[request] for request, _, _ in rows], pa.string()),
            text: pa.array([f"product {product}" for _, product, _ in rows], pa.string()),
            schema.QUERY_ID: pa.array([request for request, _, _ in rows], pa.int64()),
            schema.PRODUCT_ID: pa.array([int(product) for _, product, _ in rows], pa.int64()),
            schema.WEIGHT: pa.array([weight for _, _, weight in rows], pa.float32()),
        }
        table = pa.table(columns)
        write_dataset(iter([table]), table.schema, folder / name)
    write_json(folder / schema.FEEDBACK_PARAMS, {"sha256": content_hashes(folder)})
    return folder


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return TextEncoder(str(tiny_model), max_seq_length=64)


@pytest.fixture
def feedback_dir(tmp_path):
    return write_feedback(tmp_path / "feedback")


def opened(encoder, processed_dir, feedback_dir, **options):
    data_module = NextOrderDataModule(processed_dir=processed_dir, feedback_dir=feedback_dir, **options)
    data_module.tokenizer = encoder
    data_module.prepare_data()
    data_module.setup("fit")
    return data_module


@pytest.fixture(scope="module")
def alone(encoder, processed_dir):
    return opened(encoder, processed_dir, None).train_dataset.pairs


def test_they_come_after_the_folders_own(encoder, processed_dir, feedback_dir, alone):
    pairs = opened(encoder, processed_dir, feedback_dir).train_dataset.pairs
    n_pairs, n_orders = len(alone.pair_product), len(alone.anchors)
    assert np.array_equal(pairs.pair_product[:n_pairs], alone.pair_product)
    assert np.array_equal(pairs.order_start[: n_orders + 1], alone.order_start)
    assert (pairs.order_start[n_orders:] - n_pairs).tolist() == [0, 2, 3]
    catalogue = list(ProcessedFolder(processed_dir).corpus)
    assert [catalogue[product] for product in pairs.pair_product[n_pairs:]] == ["4", "7", "4"]
    assert (pairs.pair_weight[:n_pairs] == 1).all()
    assert pairs.pair_weight[n_pairs:].tolist() == [0.5, 1.5, 1.0]


def test_contexts_are_tokenised_as_all_others(encoder, processed_dir, feedback_dir, alone):
    anchors = opened(encoder, processed_dir, feedback_dir).train_dataset.pairs.anchors
    n_orders = len(alone.anchors)
    assert len(anchors) == n_orders + 2
    for order in (0, n_orders - 1):
        ids = [table.ids[table.starts[order] : table.starts[order + 1]].tolist() for table in (anchors, alone.anchors)]
        assert ids[0] == ids[1]
    found = [anchors.ids[anchors.starts[n_orders + k] : anchors.starts[n_orders + k + 1]].tolist() for k in range(2)]
    assert found == encoder.token_ids(list(CONTEXTS.values()))


def test_arrays_stay_on_disk(encoder, processed_dir, feedback_dir):
    assert isinstance(opened(encoder, processed_dir, feedback_dir).train_dataset.pairs.anchors.ids, np.memmap)


def test_hard_negatives_are_those_of_the_order(encoder, processed_dir, feedback_dir, alone):
    negatives = opened(encoder, processed_dir, feedback_dir).train_dataset.pairs.hard_negatives
    catalogue, n_orders = list(ProcessedFolder(processed_dir).corpus), len(alone.anchors)
    assert (negatives.order_start[: n_orders + 1] == 0).all()
    assert negatives.order_start[n_orders:].tolist() == [0, 1, 3]
    assert [catalogue[product] for product in negatives.product] == ["1", "9", "2"]
    assert negatives.weight.tolist() == [1.0, 0.5, 0.75]


def test_settings_multiply_the_weights(encoder, processed_dir, feedback_dir):
    options = {"feedback_weight": 2.0, "hard_negative_weight": 4.0}
    pairs = opened(encoder, processed_dir, feedback_dir, **options).train_dataset.pairs
    assert pairs.pair_weight[-3:].tolist() == [1.0, 3.0, 2.0]
    assert pairs.hard_negatives.weight.tolist() == [4.0, 2.0, 3.0]
    none = opened(encoder, processed_dir, feedback_dir, hard_negative_weight=0.0).train_dataset.pairs
    assert none.hard_negatives is None
    assert none.pair_weight[-3:].tolist() == [0.5, 1.5, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feedback_weight": 0.0}, r"pair_weight must be above 0: got 0\.0"),
        ({"hard_negative_weight": -1.0}, r"hard_negative_weight must be at least 0: got -1\.0"),
    ],
)
def test_settings_without_a_meaning_are_refused(options, message, feedback_dir):
    with pytest.raises(SettingError, match=message):
        NextOrderDataModule(feedback_dir=feedback_dir, **options)


@pytest.mark.parametrize("batch_by", ["order", "pair"])
def test_a_batch_says_which_pair_has_which_weight_and_which_order_which_negatives(
    encoder, processed_dir, feedback_dir, alone, batch_by
):
    dataset = opened(encoder, processed_dir, feedback_dir, batch_by=batch_by).train_dataset
    n_pairs, n_orders = len(alone.pair_product), len(alone.anchors)
    items = [0, n_orders, n_orders + 1] if batch_by == "order" else [0, n_pairs, n_pairs + 1, n_pairs + 2]
    batch = dataset[np.array(items)]
    catalogue = list(ProcessedFolder(processed_dir).corpus)
    products = [catalogue[position] for position in batch["product_position"].tolist()]
    texts = [
        tuple(row[mask.bool()].tolist()) for chunk in batch["anchor"] for row, mask in zip(*chunk.values(), strict=True)
    ]
    request_of = {
        tuple(ids): request for request, ids in zip(CONTEXTS, encoder.token_ids(list(CONTEXTS.values())), strict=True)
    }
    requests = [request_of.get(text) for text in texts]

    def told(*names):
        columns = (batch[name].tolist() for name in names)
        rows = ((requests[a], products[p], weight) for a, p, weight in zip(*columns, strict=True))
        return sorted(row for row in rows if row[0] is not None)

    assert told("anchor_index", "product_index", "pair_weight") == sorted(POSITIVES)
    assert told("negative_anchor_index", "negative_product_index", "negative_weight") == sorted(NEGATIVES)
    assert len(batch["negative_weight"]) == len(NEGATIVES), "an order of the folder has none"
    own = [weight for a, weight in zip(batch["anchor_index"], batch["pair_weight"], strict=True) if requests[a] is None]
    assert {float(weight) for weight in own} == {1.0}


def test_without_feedback_a_batch_is_what_it_was(encoder, processed_dir):
    dataset = opened(encoder, processed_dir, None).train_dataset
    assert not [name for name in dataset[np.arange(2)] if "weight" in name or "negative" in name]


def test_an_epoch_trains_on_every_pair_once(encoder, processed_dir, feedback_dir, alone):
    loader = opened(encoder, processed_dir, feedback_dir, batch_size=8).train_dataloader()
    assert sum(len(batch["product_index"]) for batch in loader) == len(alone.pair_product) + 3


def test_contexts_are_tokenised_once(encoder, processed_dir, feedback_dir, monkeypatch):
    opened(encoder, processed_dir, feedback_dir)
    monkeypatch.setattr(type(encoder), "token_ids", lambda *_: pytest.fail("tokenised again"))
    opened(encoder, processed_dir, feedback_dir)


def test_other_feedback_in_the_same_place_is_tokenised_anew(encoder, processed_dir, feedback_dir, alone):
    opened(encoder, processed_dir, feedback_dir)
    shutil.rmtree(feedback_dir)
    write_feedback(feedback_dir, [(8, "4", 1.0)], [(8, "9", 1.0)])
    assert len(opened(encoder, processed_dir, feedback_dir).train_dataset.pairs.anchors) == len(alone.anchors) + 1


def test_a_request_without_a_hard_negative_is_one_too(encoder, processed_dir, tmp_path):
    folder = write_feedback(tmp_path / "feedback", negatives=[])
    dataset = opened(encoder, processed_dir, folder).train_dataset
    batch = dataset[np.array([len(dataset) - 1])]
    assert len(batch["negative_weight"]) == 0
    assert batch["pair_weight"].tolist() == [1.0]


def test_a_folder_that_is_none_is_named(encoder, processed_dir, tmp_path):
    with pytest.raises(NotPreparedError, match=r"No feedback pairs at .*: it holds no feedback_params.json"):
        opened(encoder, processed_dir, tmp_path)


def test_products_of_another_catalogue_are_refused(encoder, processed_dir, tmp_path):
    folder = write_feedback(tmp_path / "feedback", [(3, "4", 1.0), (3, "99999", 1.0)])
    with pytest.raises(ProcessedFolderError, match="1 of its 2 products are not there, such as 99999"):
        opened(encoder, processed_dir, folder)


def test_datasets_that_do_not_fit_are_refused(encoder, processed_dir, tmp_path):
    folder = write_feedback(tmp_path / "feedback", [(3, "4", 1.0)])
    with pytest.raises(ProcessedFolderError, match="2 hard negatives are of a request that has no pair"):
        opened(encoder, processed_dir, folder)


def test_a_checkpoint_records_its_feedback_and_going_on_with_other_is_said(
    encoder, processed_dir, feedback_dir, tmp_path, caplog
):
    data_module = opened(encoder, processed_dir, feedback_dir)
    state = data_module.state_dict()
    assert state["feedback_dir"] == str(feedback_dir)
    assert state["feedback_sha256"] == read_json(feedback_dir / schema.FEEDBACK_PARAMS)["sha256"]
    data_module.load_state_dict(state)
    assert "other feedback" not in caplog.text
    opened(encoder, processed_dir, None).load_state_dict(state)
    assert f"trained with other feedback: {feedback_dir}" in caplog.text


def test_the_folders_own_cache_is_left_as_it_was(encoder, processed_dir, feedback_dir, alone):
    data_module = opened(encoder, processed_dir, feedback_dir)
    cache = TokenCache(ProcessedFolder(processed_dir), encoder)
    assert len(read_tokens(cache.path, ANCHORS)) == len(alone.anchors)
    assert FeedbackPairs(feedback_dir)._cache_of(cache).is_relative_to(feedback_dir)
    assert data_module.feedback is not None
