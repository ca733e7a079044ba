"""The command lines that a command or an error says to run next: whole, and quoted for a shell."""

import shlex
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any


def command(*words: object) -> str:
    """One of our command lines.

    >>> command("export", "--output_dir", Path("my models"))
    "python -m lit_rec export --output_dir 'my models'"
    """
    return shlex.join(["python", "-m", "lit_rec", *map(str, words)])


def flags(settings: Any) -> list[str]:  # noqa: ANN401 - any dataclass
    """What a command line names of some settings: those that are not as they are by default.

    Args:
        settings: a dataclass; its lists are several words.
    """
    words: list[str] = []
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        default = setting.default if setting.default_factory is MISSING else setting.default_factory()
        if value != default:
            values = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else value]
            words += [f"--{setting.name}", *map(str, values)]
    return words


def config_for(source: object) -> list[object]:
    """The flag of the config that fits a source of data, where this machine has it: it is part of a clone."""
    name = "complete_journey.yaml" if source == "complete_journey" else "instacart.yaml"
    found = [file for place in (Path(), Path(__file__).parents[2]) if (file := place / "configs" / name).is_file()]
    return ["--config", found[0]] if found else []


def print_next_steps(*lines: str) -> None:
    """Print what to run next, each on a line of its own that can be copied."""
    from rich.console import Console  # not for help

    console = Console(soft_wrap=True, highlight=False)
    console.print("\n[bold]Next[/bold]")
    for line in lines:
        console.print(f"  {line}", markup=False)
