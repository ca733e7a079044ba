"""Token tables: what is written comes back, through memory maps, padded as asked."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_rec.data.tokens import TokenTable, chunked, joined_tokens, length_sorted_chunks, read_tokens, write_tokens

token_rows = st.lists(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=6), min_size=1, max_size=12)


def table_of(rows, pad=0):
    starts = np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64)))
    return TokenTable(np.array([token for row in rows for token in row], dtype=np.int32), starts, pad)


def rows_of(tokens):
    """The rows of a padded batch without their padding."""
    assert tokens["input_ids"].shape == tokens["attention_mask"].shape
    return [ids[mask.bool()].tolist() for ids, mask in zip(tokens["input_ids"], tokens["attention_mask"], strict=True)]


@pytest.mark.parametrize("rows_per_chunk", [1, 2, 100])
def test_what_is_written_comes_back_as_memory_maps(tmp_path, word_tokenizer, rows_per_chunk):
    tokenizer = word_tokenizer()
    texts = ["a b c", "", "a a", "d"]
    write_tokens(tmp_path, "texts", chunked(4, texts.__getitem__, rows_per_chunk), tokenizer)
    table = read_tokens(tmp_path, "texts")
    assert isinstance(table.ids, np.memmap)
    assert isinstance(table.starts, np.memmap)
    assert len(table) == 4
    assert table.lengths.tolist() == [5, 2, 4, 3]
    assert table.pad_token_id == 0
    assert rows_of(table.padded(np.arange(4))) == tokenizer.token_ids(texts)


def test_no_text_at_all_is_an_empty_table(tmp_path, word_tokenizer):
    write_tokens(tmp_path, "texts", [], word_tokenizer())
    assert len(read_tokens(tmp_path, "texts")) == 0


@given(token_rows, st.data())
def test_padded_rows_are_the_texts_filled_up_to_the_longest(rows, data):
    picked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1)))
    tokens = table_of(rows, pad=7).padded(picked)
    assert rows_of(tokens) == [rows[row] for row in picked]
    assert tokens["input_ids"].shape[1] == max(len(rows[row]) for row in picked)
    assert (tokens["input_ids"][tokens["attention_mask"] == 0] == 7).all()
    assert str(tokens["input_ids"].dtype) == str(tokens["attention_mask"].dtype) == "torch.int64"


@given(token_rows, st.data())
def test_a_selection_is_a_table_of_those_texts(rows, data):
    picked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1))), dtype=np.int64)
    selected = table_of(rows).select(picked)
    assert len(selected) == len(picked)
    assert rows_of(selected.padded(np.arange(len(picked)))) == [rows[row] for row in picked]


def test_chunks_hold_every_row_once():
    texts = [str(number) for number in range(10)]
    assert list(chunked(10, texts.__getitem__, 4)) == [texts[:4], texts[4:8], texts[8:]]


def test_sorted_rows_are_padded_chunk_by_chunk():
    table = table_of([[1], [2, 2], [3, 3, 3]])
    chunks = length_sorted_chunks(table, np.array([0, 1, 2]), 2)
    assert [tuple(chunk["input_ids"].shape) for chunk in chunks] == [(2, 2), (1, 3)]
    assert [row for chunk in chunks for row in rows_of(chunk)] == [[1], [2, 2], [3, 3, 3]]
    assert len(length_sorted_chunks(table, np.array([0, 1, 2]), None)) == 1


def test_a_pickled_table_carries_the_file_s_name_and_not_its_ids(tmp_path, word_tokenizer):
    texts = [" ".join("abcd" * 2_000)] * 3
    write_tokens(tmp_path, "texts", [texts], word_tokenizer())
    table = read_tokens(tmp_path, "texts")
    pickled = pickle.dumps(table)
    again = pickle.loads(pickled)
    assert len(pickled) < table.ids.nbytes / 20
    assert isinstance(again.ids, np.memmap)
    np.testing.assert_array_equal(again.ids, table.ids)
    np.testing.assert_array_equal(again.starts, table.starts)


def test_a_selection_is_pickled_with_its_own_ids_alone(tmp_path, word_tokenizer):
    write_tokens(tmp_path, "texts", [["a b", "c d e", "a"]], word_tokenizer())
    chosen = read_tokens(tmp_path, "texts").select(np.array([2, 1]))
    again = pickle.loads(pickle.dumps(chosen))
    assert rows_of(again.padded(np.arange(2))) == rows_of(chosen.padded(np.arange(2)))


def test_tables_are_joined_one_after_another(tmp_path, word_tokenizer):
    parts = [["a b c", "d"], [], ["e f"]]
    for number, texts in enumerate(parts):
        write_tokens(tmp_path, f"part{number}", [texts] if texts else [], word_tokenizer())
    joined_tokens(tmp_path, "all", [(tmp_path, f"part{number}") for number in range(3)])
    whole = read_tokens(tmp_path, "all")
    assert whole.lengths.tolist() == [5, 3, 4]
    assert whole.ids.tolist() == [token for row in word_tokenizer().token_ids(["a b c", "d", "e f"]) for token in row]
    assert whole.pad_token_id == 0
