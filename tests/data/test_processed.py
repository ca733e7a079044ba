"""Finding and reading processed folders; what is missing or damaged is named, with the next step."""

import os
import shutil

import pytest

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError, UnknownQueryError
from lit_rec.core.files import write_json
from lit_rec.data.processed import ProcessedFolder, find_processed_folder


def finished(folder, age_in_seconds=0):
    folder.mkdir(parents=True)
    write_json(folder / schema.PARAMS, {"eval_frac": 0.1})
    moment = 1_700_000_000 - age_in_seconds
    os.utime(folder / schema.PARAMS, (moment, moment))
    return folder


@pytest.fixture
def folder(tmp_path):
    folder = finished(tmp_path / "p5_mp20_ef0.1")
    write_json(folder / schema.EVAL_QUERIES, {"17": "[w1h2] A.", "18": "(no prior orders).", "19": "[w1h2] B."})
    write_json(folder / schema.EVAL_CORPUS, {"2": "two", "1": "one"})
    return folder


def test_a_processed_folder_is_found_as_itself(tmp_path):
    folder = finished(tmp_path / "one")
    finished(folder / "inner")
    assert find_processed_folder(folder) == folder


def test_the_only_one_inside_is_found(tmp_path):
    folder = finished(tmp_path / "one")
    (tmp_path / "empty").mkdir()
    assert find_processed_folder(tmp_path) == folder


def test_the_newest_one_inside_is_found_and_said(tmp_path, caplog):
    finished(tmp_path / "a_old", age_in_seconds=60)
    newest = finished(tmp_path / "b_newest")
    finished(tmp_path / "c_oldest", age_in_seconds=120)
    with caplog.at_level("INFO"):
        assert find_processed_folder(tmp_path) == newest
    assert "b_newest, the newest of 3 prepared folders" in caplog.text


def test_an_unfinished_one_is_not_found(tmp_path):
    finished(tmp_path / ".p5.unfinished-17")
    (tmp_path / "p5").mkdir()
    (tmp_path / "p5" / schema.EVAL_CORPUS).write_text("{}")
    with pytest.raises(NotPreparedError):
        find_processed_folder(tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_where_there_is_none_the_error_names_the_next_step(tmp_path, exists):
    path = tmp_path if exists else tmp_path / "typo"
    with pytest.raises(NotPreparedError, match="python -m lit_rec prepare --source") as raised:
        find_processed_folder(path)
    assert str(path) in str(raised.value)


def test_the_corpus_keeps_its_order(folder):
    assert list(ProcessedFolder(folder).corpus) == ["2", "1"]


def test_a_query_is_found_by_its_id(folder):
    assert ProcessedFolder(folder).query("18") == "(no prior orders)."


def test_an_unknown_query_id_says_which_ids_there_are(folder):
    with pytest.raises(
        UnknownQueryError, match=r"No evaluation query 'x' in .*: it holds 3 order ids such as 17, 18, 19"
    ):
        ProcessedFolder(folder).query("x")


def test_a_missing_file_is_named(folder):
    with pytest.raises(NotPreparedError, match=r"eval_relevant_docs.json is missing.*Run prepare again"):
        _ = ProcessedFolder(folder).relevant_docs


@pytest.mark.parametrize("damage", ["", '{"17": "[w1h', "[1, 2]", "null", "\udcff"])
def test_damaged_json_is_named(folder, damage):
    (folder / schema.EVAL_QUERIES).write_text(damage, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ProcessedFolderError, match=r"eval_queries.json cannot be read.*Run prepare again"):
        _ = ProcessedFolder(folder).queries


def test_hashes_are_those_recorded_or_else_computed_from_the_content(processed_dir, tmp_path):
    ours = ProcessedFolder(processed_dir)
    assert ours.sha256 == ours.params["sha256"]
    copy = tmp_path / "copy"
    shutil.copytree(processed_dir, copy, ignore=shutil.ignore_patterns(schema.TOKEN_CACHE, schema.INDEX_CACHE))
    write_json(copy / schema.PARAMS, {"eval_frac": 0.5})  # as the seed writes it
    assert ProcessedFolder(copy).sha256 == ours.sha256
    write_json(copy / schema.EVAL_CORPUS, {"1": "changed"})
    assert ProcessedFolder(copy).sha256 != ours.sha256
