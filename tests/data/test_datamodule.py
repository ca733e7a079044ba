"""The data module, driven without a trainer: prepares by itself, tokenises once, streams the same batches always."""

import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from datasets import load_from_disk

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, SettingError
from lit_rec.core.files import write_json
from lit_rec.core.schema import Split
from lit_rec.data.datamodule import NextOrderDataModule
from lit_rec.data.settings import PrepareSettings
from lit_rec.models.encoder import TextEncoder


class CountingEncoder(TextEncoder):
    """Counts the texts that it tokenises."""

    texts_seen = 0

    def token_ids(self, texts):
        self.texts_seen += len(texts)
        return super().token_ids(texts)


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return TextEncoder(str(tiny_model), max_seq_length=64)


def opened(encoder, stage="fit", **options):
    """A data module after prepare_data and setup."""
    data_module = NextOrderDataModule(**options)
    data_module.tokenizer = encoder
    data_module.prepare_data()
    data_module.setup(stage)
    return data_module


def flat(value):
    """A batch as plain lists, to compare."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: flat(part) for key, part in value.items()}
    return [flat(part) for part in value]


def indices(loader):
    return [int(index) for batch in loader for index in batch["index"]]


# --- finding and preparing ---


def test_raw_data_are_prepared_by_itself(encoder, tmp_path):
    options = {
        "source": "synthetic",
        "data_dir": tmp_path / "raw",
        "output_dir": tmp_path / "processed",
        "prepare": PrepareSettings(eval_frac=0.5, seed=3),
        "n_users": 30,
        "n_products": 60,
    }
    data_module = opened(encoder, **options)
    folder = tmp_path / "processed" / "synthetic_p5_mp20_ef0.5_s3"
    assert data_module.folder.path == folder
    assert len(data_module.product_ids) == 60
    written = (folder / schema.PARAMS).stat().st_mtime_ns
    assert len(list(opened(encoder, **options).train_dataloader())) > 0
    assert (folder / schema.PARAMS).stat().st_mtime_ns == written


def test_another_process_opens_what_the_first_one_prepared(encoder, processed_dir):
    opened(encoder, processed_dir=processed_dir)
    second = NextOrderDataModule(processed_dir=processed_dir.parent)
    second.tokenizer = encoder
    second.setup("fit")
    assert second.folder.path == processed_dir
    assert len(list(second.train_dataloader())) > 0


def test_no_data_and_no_source_is_an_error_with_the_next_step(encoder, tmp_path):
    with pytest.raises(NotPreparedError, match="python -m lit_rec prepare"):
        opened(encoder, processed_dir=tmp_path)


def test_no_tokenizer_is_an_error_with_the_next_step(processed_dir):
    with pytest.raises(SettingError, match=r"Set data\.tokenizer = model\.encoder"):
        NextOrderDataModule(processed_dir=processed_dir).prepare_data()


# --- the token cache ---


def test_texts_are_tokenised_once_and_anew_for_another_tokenizer(tiny_model, processed_dir, tmp_path):
    folder = tmp_path / "processed"
    shutil.copytree(processed_dir, folder, ignore=shutil.ignore_patterns(schema.TOKEN_CACHE))
    first, second, shorter = (CountingEncoder(str(tiny_model), max_seq_length=length) for length in (64, 64, 32))
    opened(first, processed_dir=folder)
    n_orders = len(set(load_from_disk(folder / schema.TRAIN_DATASET)["query_id"]))
    n_queries = len(load_from_disk(folder / schema.EVAL_HISTORY))
    assert first.texts_seen == 200 + n_queries + n_orders
    before = flat(list(opened(second, processed_dir=folder).train_dataloader()))
    assert second.texts_seen == 0
    after = opened(shorter, processed_dir=folder)
    assert shorter.texts_seen == first.texts_seen
    assert after.train_dataset.lengths.max() == 32
    assert flat(list(opened(first, processed_dir=folder).train_dataloader())) == before


def test_arrays_stay_on_disk(encoder, processed_dir):
    data_module = opened(encoder, processed_dir=processed_dir)
    pairs = data_module.train_dataset.pairs
    arrays = [pairs.anchors.ids, pairs.anchors.starts, pairs.products.ids, pairs.pair_product, pairs.order_start]
    assert all(isinstance(array, np.memmap) for array in arrays)
    assert all(not array.flags.writeable for array in arrays)


# --- training batches ---


@pytest.mark.parametrize("batch_by", ["order", "pair"])
def test_an_epoch_trains_on_every_pair_once(encoder, processed_dir, batch_by):
    data_module = opened(encoder, processed_dir=processed_dir, batch_by=batch_by)
    seen = [
        int(position)
        for batch in data_module.train_dataloader()
        for position in batch["product_position"][batch["product_index"]]
    ]
    ids = [row["product_id"] for row in load_from_disk(processed_dir / schema.TRAIN_DATASET)]
    assert sorted(data_module.product_ids[position] for position in seen) == sorted(map(str, ids))


@pytest.mark.parametrize("batch_by", ["order", "pair"])
def test_batches_are_the_same_for_any_number_of_workers_and_every_run(encoder, processed_dir, batch_by):
    found = [
        flat(list(opened(encoder, processed_dir=processed_dir, batch_by=batch_by, num_workers=n).train_dataloader()))
        for n in (0, 0, 2)
    ]
    assert found[0] == found[1] == found[2]


def test_another_seed_is_another_order_of_training(encoder, processed_dir):
    one, other = (flat(list(opened(encoder, processed_dir=processed_dir, seed=s).train_dataloader())) for s in (1, 2))
    assert one != other


@pytest.mark.parametrize("batch_by", ["order", "pair"])
def test_train_orders_limits_training_to_some_whole_orders(encoder, processed_dir, batch_by):
    def pairs_trained_on(**options):
        loader = opened(encoder, processed_dir=processed_dir, **options).train_dataloader()
        return sorted(
            int(position) for batch in loader for position in batch["product_position"][batch["product_index"]]
        )

    limited = pairs_trained_on(batch_by=batch_by, train_orders=7)
    assert 7 <= len(limited) < len(pairs_trained_on(batch_by=batch_by))
    assert limited == pairs_trained_on(batch_by="order", train_orders=7)
    loader = opened(encoder, processed_dir=processed_dir, train_orders=7, batch_size=1).train_dataloader()
    assert len(loader) == 7


def test_a_stopped_epoch_goes_on_in_a_new_data_module(encoder, processed_dir):
    stopped, resumed = (opened(encoder, processed_dir=processed_dir, batch_size=8).train_dataloader() for _ in range(2))
    whole = flat(list(stopped))
    reading = iter(stopped)
    for _ in range(3):
        next(reading)
    resumed.load_state_dict(stopped.state_dict())
    assert flat(list(resumed)) == whole[3:]


# --- evaluation ---


@pytest.mark.parametrize(("stage", "loaders"), [("validate", "val"), ("test", "test"), ("predict", "predict")])
def test_evaluation_reads_the_whole_catalogue_and_then_each_query_of_the_part_once(
    encoder, processed_dir, stage, loaders
):
    data_module = opened(encoder, stage, processed_dir=processed_dir, eval_batch_size=16)
    catalogue, queries = getattr(data_module, f"{loaders}_dataloader")()
    split = None if loaders == "predict" else Split(loaders)
    assert sorted(indices(catalogue)) == list(range(200))
    assert sorted(indices(queries)) == list(range(len(data_module.query_ids_of(split))))


def test_validation_and_test_share_no_query(encoder, processed_dir):
    data_module = opened(encoder, "validate", processed_dir=processed_dir)
    val, test = (set(data_module.query_ids_of(split)) for split in (Split.VAL, Split.TEST))
    assert val.isdisjoint(test)
    assert val | test == set(data_module.query_ids_of(None))
    assert val
    assert test


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_query_comes_with_its_own_text_and_basket(encoder, processed_dir, num_workers):
    data_module = opened(encoder, "test", processed_dir=processed_dir, num_workers=num_workers, eval_batch_size=7)
    query_ids = data_module.query_ids_of(Split.TEST)
    for batch in data_module.test_dataloader()[1]:
        (tokens,) = batch["tokens"]
        for row, index in enumerate(batch["index"].tolist()):
            query = query_ids[index]
            ids = tokens["input_ids"][row][tokens["attention_mask"][row].bool()].tolist()
            assert [ids] == encoder.token_ids([data_module.query_text(query)])
            relevant = {data_module.product_ids[position] for position in batch["relevant"][row] if position >= 0}
            assert relevant == set(data_module.folder.relevant_docs[query])


def test_the_longest_texts_come_first_so_that_memory_is_known_at_once(encoder, processed_dir):
    catalogue, _ = opened(encoder, "test", processed_dir=processed_dir, eval_batch_size=8).test_dataloader()
    lengths = [batch["tokens"][0]["input_ids"].shape[1] for batch in catalogue]
    assert lengths == sorted(lengths, reverse=True)


def test_eval_queries_limits_validation_to_a_seeded_choice(encoder, processed_dir):
    whole = opened(encoder, "test", processed_dir=processed_dir)
    few, same, other = (opened(encoder, "test", processed_dir=processed_dir, eval_queries=3, seed=s) for s in (1, 1, 2))
    assert len(few.query_ids_of(Split.VAL)) == 3
    assert set(few.query_ids_of(Split.VAL)) < set(whole.query_ids_of(Split.VAL))
    assert few.query_ids_of(Split.VAL) == same.query_ids_of(Split.VAL)
    assert few.query_ids_of(Split.VAL) != other.query_ids_of(Split.VAL)
    assert sorted(indices(few.val_dataloader()[1])) == [0, 1, 2]
    for split in (Split.TEST, None):  # what is reported, and what is asked for, is whole
        assert few.query_ids_of(split) == whole.query_ids_of(split)


def test_pairs_of_one_order_do_not_stand_together_in_a_batch(encoder, processed_dir):
    """They are of one length: sorted by it, they would."""
    data = opened(encoder, processed_dir=processed_dir, batch_by="pair", batch_size=8)
    orders = [data.train_dataset.order_of_pair[rows] for rows in data.train_dataloader().batches]
    alone = np.mean([np.isin(batch, batch[counts_of(batch) == 1]).mean() for batch in orders])
    assert alone > 0.6


def counts_of(values):
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[inverse]


def test_no_query_to_validate_on_is_an_error_with_the_next_step(encoder, raw_dir, tmp_path):
    options = {"source": "instacart", "data_dir": raw_dir, "output_dir": tmp_path}
    none_held_out = opened(encoder, **options, prepare=PrepareSettings(eval_frac=0.0))
    with pytest.raises(SettingError, match=r"No val queries in .*: eval_frac 0.0.*larger --eval_frac"):
        none_held_out.val_dataloader()
    all_are_test = opened(encoder, "test", **options, prepare=PrepareSettings(eval_frac=1.0))
    with pytest.raises(SettingError, match=r"No val queries in .*: eval_frac 1.0"):
        all_are_test.val_dataloader()
    assert len(indices(all_are_test.test_dataloader()[1])) > 0


def test_fitting_on_a_folder_without_pairs_is_an_error_with_the_next_step(encoder, raw_dir, tmp_path):
    settings = PrepareSettings(eval_frac=1.0)
    with pytest.raises(NotPreparedError, match=r"holds nothing to train on: .*smaller --eval_frac"):
        opened(encoder, source="instacart", data_dir=raw_dir, output_dir=tmp_path, prepare=settings)


def test_names_and_ids_are_those_of_the_catalogue_in_its_order(encoder, processed_dir):
    data_module = opened(encoder, processed_dir=processed_dir)
    assert data_module.product_ids == list(data_module.folder.corpus)
    texts = list(data_module.folder.corpus.values())
    assert all(
        text.startswith(f"Product: {name}. Aisle: ")
        for text, name in zip(texts, data_module.product_names, strict=True)
    )


# --- checkpoints ---


def test_going_on_with_other_data_is_said(encoder, processed_dir, tmp_path, caplog):
    data_module = opened(encoder, processed_dir=processed_dir)
    state = data_module.state_dict()
    data_module.load_state_dict(state)
    assert "differs" not in caplog.text
    folder = tmp_path / "other"
    shutil.copytree(processed_dir, folder)
    write_json(folder / schema.PARAMS, {**data_module.folder.params, "sha256": {"eval_corpus.json": "0"}})
    opened(encoder, processed_dir=folder).load_state_dict(state)
    assert f"trained on {processed_dir}, whose content differs" in caplog.text


def test_a_ctrl_c_that_reaches_the_loaders_processes_too_does_not_end_them(encoder, processed_dir):
    data_module = opened(encoder, processed_dir=processed_dir, batch_size=4, num_workers=1)
    batches = iter(data_module.train_dataloader())
    next(batches)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
    assert len(list(batches)) == len(data_module.train_dataloader()) - 1
