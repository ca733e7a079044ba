"""How a function becomes a command of the command line."""

import sys
from collections.abc import Callable, Collection
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

Command = Callable[..., object]


class BriefErrors(ArgumentParser):
    """Says what is wrong with a command line and where its help is; the usage of fit alone would be 100 lines."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print it and end with status 2."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser: ArgumentParser = getattr(ex, "subcommand_parser", None) or self
        hint = ""
        if message.startswith("unrecognized arguments: "):
            flag = message.split()[2].partition("=")[0]
            close = get_close_matches(flag, parser._option_string_actions, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
        sys.stderr.write(
            f"error: {_one_line(message)}\n{hint}{parser.prog.replace(' [options]', '')} --help explains\n"
        )
        self.exit(2)


_NO_NEWS = (
    "Does not validate against any of the Union subtypes",
    "Subtypes:",
    "Errors:",
    "Problem with given class_path",
    "Expected a <class 'NoneType'>",  # of a setting that may be null
    "Given value type:",
)


def _one_line(message: str) -> str:
    """What jsonargparse says over several lines."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    return " ".join(line for line in lines if not line.startswith(_NO_NEWS)).replace(" Given value:", ". Got value:")


def summary_of(function: Command) -> str:
    """The first line of its docstring."""
    return (function.__doc__ or "").partition("\n")[0]


def command_parser(function: Command, settings: type | None = None, skip: Collection[str] = ()) -> ArgumentParser:
    """A parser of a function's arguments, and of the fields of the class that its ``settings`` is.

    Args:
        function: the command.
        settings: a dataclass; None for a command without.
        skip: fields of the class that are added otherwise.
    """
    parser = BriefErrors(description=summary_of(function))
    parser.add_argument("--config", action="config", help="A YAML file with any of these settings.")
    if settings is not None:
        parser.add_class_arguments(settings, skip=set(skip))
    parser.add_function_arguments(function, skip={"settings"})
    return parser


def call_arguments(settings: type | None, namespace: Namespace) -> dict[str, Any]:
    """What the function is called with, its ``settings`` put together."""
    values = {name: value for name, value in vars(namespace).items() if name != "config"}
    if settings is not None:
        names = [field.name for field in fields(settings)]
        values["settings"] = settings(**{name: values.pop(name) for name in names})
    return values
