"""Requests say what the processed folder says: told in three ways, it is the same history."""

import shutil

import numpy as np
import pytest

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, SettingError
from lit_rec.core.schema import Split
from lit_rec.data.histories import histories_of
from lit_rec.data.history_files import read_eval_histories
from lit_rec.data.orders import UserHistory
from lit_rec.data.processed import ProcessedFolder
from lit_rec.feedback.users import users_of


@pytest.fixture(scope="module")
def folder(processed_dir):
    return ProcessedFolder(processed_dir)


def test_all_users_by_their_ids(folder):
    users = users_of(folder, None, "user_id")
    assert [each.user_id for each in users] == list(folder.queries)
    assert users[0].asks == {"user_id": users[0].user_id}
    assert users[0].bought == set(folder.relevant_docs[users[0].user_id])


def test_splits_share_the_users_out(folder):
    val, test = ({each.user_id for each in users_of(folder, split, "user_id")} for split in (Split.VAL, Split.TEST))
    assert val
    assert test
    assert not val & test
    assert val | test == set(folder.queries)
    with pytest.raises(SettingError, match="No train users"):
        users_of(folder, Split.TRAIN, "user_id")


def test_by_context(folder):
    for each in users_of(folder, None, "context"):
        assert each.asks == {"user_id": each.user_id, "user_context": folder.queries[each.user_id]}


def test_by_history_is_the_folders_history(folder):
    users = users_of(folder, None, "history")
    position = {product_id: row for row, product_id in enumerate(folder.corpus)}
    requests = [UserHistory.from_record({"orders": each.asks["history"], **each.asks}) for each in users]
    told, recorded = histories_of(requests, position), read_eval_histories(folder, [each.user_id for each in users])
    assert len(told.product) > 500
    for name in ("line_start", "product", "orders_ago", "days_ago", "line_dow", "line_hour", "dow", "hour"):
        assert np.array_equal(getattr(told, name), getattr(recorded, name)), name


def test_what_is_sent_is_plain_json(folder):
    import json

    asked = users_of(folder, None, "history")[0].asks
    assert json.loads(json.dumps(asked)) == asked


def test_the_references_folder_has_no_histories(processed_dir, tmp_path):
    copy = tmp_path / "processed"
    shutil.copytree(processed_dir, copy, ignore=shutil.ignore_patterns("*_history", ".tokens"))
    assert users_of(ProcessedFolder(copy), None, "context")
    with pytest.raises(NotPreparedError, match=f"has no {schema.EVAL_HISTORY}"):
        users_of(ProcessedFolder(copy), Split.VAL, "user_id")
