"""How a function becomes a verb of the command line."""

from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Any

from jsonargparse import ArgumentParser, Namespace

Verb = Callable[..., object]


def summary_of(function: Verb) -> str:
    """The first line of its docstring."""
    return (function.__doc__ or "").partition("\n")[0]


def verb_parser(function: Verb, settings: type | None = None, skip: Collection[str] = ()) -> ArgumentParser:
    """A parser of a function's arguments, and of the fields of the class that its ``settings`` is.

    Args:
        function: the verb.
        settings: a dataclass; None for a verb without.
        skip: fields of the class that are added otherwise.
    """
    parser = ArgumentParser(description=summary_of(function))
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
