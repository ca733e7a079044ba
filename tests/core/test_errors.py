"""Errors say what was asked, what was found and what to do next, and are the builtins that callers expect."""

import pytest

from lit_rec.core import errors
from lit_rec.core.errors import InputError, LitRecError, NotPreparedError, Problem, SettingError, UnknownQueryError


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InputError("here", [Problem("a.csv", "is missing", "Add it")]), ValueError),
        (errors.ProcessedFolderError("asked"), ValueError),
        (errors.NotPreparedError("asked"), FileNotFoundError),
        (errors.NotPreparedError("asked"), errors.ProcessedFolderError),
        (errors.ModelFolderError("asked"), FileNotFoundError),
        (errors.FileError("asked"), OSError),
        (errors.HubError("asked"), ConnectionError),
        (errors.FeedbackStoreError("asked"), ConnectionError),
        (errors.UnstorableError("asked"), errors.FeedbackStoreError),
        (errors.OutcomeUnknownError("asked"), errors.FeedbackStoreError),
        (errors.ServiceError("asked"), ConnectionError),
        (errors.UnknownQueryError("asked"), KeyError),
        (errors.SettingError("asked"), ValueError),
        (errors.ShapeError("asked"), ValueError),
    ],
)
def test_each_error_is_caught_as_the_builtin_and_as_ours(error, builtin):
    for caught_as in (builtin, LitRecError):
        with pytest.raises(caught_as) as raised:
            raise error
        assert raised.value is error


@pytest.mark.parametrize("kind", [SettingError, NotPreparedError, UnknownQueryError, errors.FileError])
def test_a_message_has_three_parts_in_plain_words(kind):
    assert str(kind("No such thing", "got 0", "Pass 1")) == "No such thing: got 0. Pass 1"


def test_parts_that_are_not_given_leave_no_trace():
    assert str(SettingError("No such thing")) == "No such thing"
    assert str(SettingError("No such thing", do="Pass 1")) == "No such thing. Pass 1"
    assert str(SettingError("No such thing", "got 0")) == "No such thing: got 0"


def test_a_problem_says_file_column_and_line():
    problem = Problem("orders.csv", "'x' is not a whole number", "Write one", column="user_id", row=12_345)
    assert str(problem) == "orders.csv, column user_id, line 12,345: 'x' is not a whole number. Write one"
    assert str(Problem("orders.csv", "is empty", "Download it")) == "orders.csv: is empty. Download it"


def test_an_input_error_reports_every_problem_at_once():
    error = InputError("data", [Problem("a.csv", "is missing", "Add it"), Problem("b.csv", "is empty", "Fill it")])
    assert str(error) == (
        "2 problems in the input from data: \n  1. a.csv: is missing. Add it\n  2. b.csv: is empty. Fill it"
    )
    assert [problem.file for problem in error.problems] == ["a.csv", "b.csv"]
    assert str(InputError("data", error.problems[:1])).startswith("1 problem in")
