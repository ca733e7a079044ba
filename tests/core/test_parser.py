"""Functions as commands: their arguments, those of their settings, and what they are called with."""

from dataclasses import dataclass

import pytest

from lit_rec.core.parser import call_arguments, command_parser, summary_of


@dataclass(frozen=True)
class Settings:
    """How.

    Args:
        size: how large.
        names: whose.
    """

    size: int = 3
    names: tuple[str, ...] = ()


def command(settings: Settings, place: str, loud: bool = False) -> None:
    """Do it.

    Args:
        settings: how.
        place: where.
        loud: say so.
    """


def plain(place: str = "here") -> None:
    """Do it without settings."""


def test_settings_and_arguments_are_put_together(tmp_path):
    parser = command_parser(command, Settings)
    given = call_arguments(Settings, parser.parse_args(["--place", "here", "--size", "5"]))
    assert given == {"settings": Settings(size=5), "place": "here", "loud": False}
    file = tmp_path / "settings.yaml"
    file.write_text("size: 7\nplace: there\n")
    assert call_arguments(Settings, parser.parse_args(["--config", str(file)]))["settings"] == Settings(size=7)


def test_fields_that_are_added_otherwise_are_skipped():
    parser = command_parser(command, Settings, skip={"names"})
    assert "names" not in parser.parse_args(["--place", "x"])


def test_without_settings():
    assert call_arguments(None, command_parser(plain).parse_args([])) == {"place": "here"}


def test_help_is_the_docstrings(capsys):
    assert summary_of(command) == "Do it."
    with pytest.raises(SystemExit):
        command_parser(command, Settings).parse_args(["--help"])
    printed = capsys.readouterr().out
    for text in ("Do it.", "how large", "say so"):
        assert text in printed
