"""How a command line is parsed: a function and its docstring become a command, a mistake is said in one line."""

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import docstring_parser
import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader

Command = Callable[..., object]


def _load(text: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """YAML, but a word of the command line that YAML reads as nothing, such as '#1' or '~', stays a word."""
    value = get_loader("yaml")(text)
    return text if value is None and text.strip() and "\n" not in text else value


set_loader("words", _load, exceptions=(yaml.YAMLError,))


class CommandParser(ArgumentParser):
    """Takes strings and paths as they are typed, and says what is wrong with a command line in one line.

    Only ``null`` is none, where a setting may be. jsonargparse's own errors are many lines: the usage of ``fit`` alone
    is 100.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - jsonargparse's
        super().__init__(*args, **{"parser_mode": "words"} | options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong, what is meant perhaps, and where the help is; end with status 2."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser: ArgumentParser = getattr(ex, "subcommand_parser", None) or self
        hint = ""
        if message.startswith("unrecognized arguments: "):
            flag = message.split()[2].partition("=")[0]
            close = get_close_matches(flag, parser._option_string_actions, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
        command = parser.prog.replace(" [options]", "")
        sys.stderr.write(f"error: {_one_line(message)}\n{hint}{command} --help explains\n")
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
    """What jsonargparse, and pydantic behind it, say over several lines, with settings named as flags."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    said = " ".join(line for line in lines if not line.startswith(_NO_NEWS)).replace(" Given value:", ". Got value:")
    said = re.sub(r"\d+ validation errors? for \S+ | \[type=\w+, input_value=.*?, input_type=\w+\]", "", said)
    said = re.sub(r" For further information visit \S+\.(?= |$)", ".", said)
    if missing := re.fullmatch("the following arguments are required: (.*)", said):
        return f"missing: {', '.join(f'--{name}' for name in missing[1].split(', '))}"
    said = re.sub(r"\. Got value: NestedArg\(.*\)$", "", said)
    said = re.sub(r'Parser key "([\w.]+)": Parser key "([\w.]+)":', r'Parser key "\1.\2":', said)
    return re.sub(r'Parser key "([\w.]+)":', r"--\1:", said)


def command_parser(function: Command, prog: str | None = None) -> CommandParser:
    """A parser of a function's arguments, explained by its docstring.

    Of an argument that is a dataclass, such as ``settings: RankerSettings``, each field is an option of its own. A
    field that is a list takes several words.

    Args:
        function: the command.
        prog: what the command line begins with.
    """
    explained = inspect.cleandoc(function.__doc__ or "").partition("\n\nArgs:")[0]
    parser = CommandParser(prog=prog, description=" ".join(explained.split()))
    parser.add_argument("--config", action="config", help="A YAML file with any of these settings.")
    classes = _settings_of(function)
    for settings in classes.values():
        help_of = {item.arg_name: item.description for item in docstring_parser.parse(settings.__doc__ or "").params}
        lists = {name: hint for name, hint in get_type_hints(settings).items() if get_origin(hint) is list}
        parser.add_class_arguments(settings, as_group=False, skip=set(lists))
        for name, hint in lists.items():
            (word,) = get_args(hint)
            parser.add_argument(f"--{name}", nargs="+", type=word, default=[], metavar="NAME", help=help_of.get(name))
    parser.add_function_arguments(function, as_group=False, skip=set(classes))
    return parser


def call_arguments(function: Command, parsed: Namespace) -> dict[str, Any]:
    """The arguments that a function is called with, its settings put together.

    Args:
        function: the command.
        parsed: what its parser made of a command line.
    """
    values = {name: value for name, value in vars(parsed).items() if name != "config"}
    for argument, settings in _settings_of(function).items():
        values[argument] = settings(**{field.name: values.pop(field.name) for field in fields(settings)})
    return values


def _settings_of(function: Command) -> dict[str, Any]:
    """Names and classes of the arguments that are dataclasses."""
    hints = {name: hint for name, hint in get_type_hints(function).items() if name != "return"}
    return {name: hint for name, hint in hints.items() if is_dataclass(hint)}
