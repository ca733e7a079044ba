"""Functions as commands: their arguments, those of their settings, and what they are called with."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lit_rec.core.bounds import CheckedSettings, PositiveInt, Share
from lit_rec.core.errors import SettingError
from lit_rec.core.parser import call_arguments, command_parser


@dataclass(frozen=True)
class Settings(CheckedSettings):
    """How.

    Args:
        names: whose,
            any number.
        size: how large.
        share: how much of it.
    """

    names: list[str] = field(default_factory=list)
    size: PositiveInt = 3
    share: Share | None = None


def command(settings: Settings, place: str, folder: Path | None = None, query: str | None = None) -> None:
    """Do it.

    With care.

    Args:
        settings: how.
        place: where.
        folder: where to.
        query: what.
    """


def plain(place: str = "here") -> None:
    """Do it without settings."""


def called(*words, function=command):
    return call_arguments(function, command_parser(function).parse_args(words))


def test_settings_and_arguments_are_put_together(tmp_path):
    given = called("--place", "here", "--size", "5", "--names", "a", "b")
    assert given == {"settings": Settings(["a", "b"], 5), "place": "here", "folder": None, "query": None}
    file = tmp_path / "settings.yaml"
    file.write_text("size: 7\nplace: there\nnames: [c]\n")
    assert called("--config", str(file), "--size", "8")["settings"] == Settings(["c"], 8)
    assert called(function=plain) == {"place": "here"}


@pytest.mark.parametrize("word", ["007", "1e3", "[a]", "~/x", "~", "#1 milk", "{a: 1}", "true", "a: b", " x ", '"x"'])
def test_words_and_paths_arrive_as_they_are_typed(word):
    given = called("--place", word, "--folder", word, "--query", word, "--names", word, "007")
    assert (given["place"], given["folder"], given["query"]) == (word, Path(word), word)
    assert given["settings"].names == [word, "007"]


def test_null_is_none_where_a_setting_may_be():
    given = called("--place", "null", "--query", "null", "--folder", "null")
    assert (given["place"], given["query"], given["folder"]) == ("null", None, None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--place x --size 0", "--size: Input should be greater than or equal to 1. Got value: 0"),
        ("--place x --share 2", "--share: Input should be less than or equal to 1. Got value: 2"),
        ("--size 5", "missing: --place"),
        ("--place x --sizes 5", "unrecognized arguments: --sizes 5\nDid you mean --size? "),
    ],
)
def test_what_is_wrong_is_said_in_a_line(line, said, capsys):
    with pytest.raises(SystemExit):
        called(*line.split())
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_help_is_the_docstrings(capsys):
    with pytest.raises(SystemExit):
        command_parser(command).parse_args(["--help"])
    printed = capsys.readouterr().out
    for text in ("Do it. With care.", "how large", "whose, any number", "where to"):
        assert text in printed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"size": 0}, "size must be at least 1: got 0"), ({"share": 2}, "share must be at least 0 and at most 1: got 2")],
)
def test_settings_made_in_python_are_checked_too(wrong, said):
    with pytest.raises(SettingError, match=said):
        Settings(**wrong)
