"""``python -m lit_rec COMMAND``: find the command, parse its arguments, call it; errors end in one line.

jsonargparse is imported once a command is named, and what a command needs once it runs: help comes at once.
"""

import errno
import logging
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

from lit_rec import __version__
from lit_rec.cli import commands, feedback
from lit_rec.core.errors import FileError, LitRecError, SettingError, first_line
from lit_rec.core.former_names import present_words

Command = Callable[..., object]

PROG = "python -m lit_rec"
_DESCRIPTION = """\
From a user's past orders, rank the whole catalogue so that the next order comes first.

The usual way:
  python -m lit_rec prepare --source complete_journey
  python -m lit_rec fit --config configs/complete_journey.yaml
  python -m lit_rec export --ckpt_path models/complete_journey/checkpoints/best.ckpt --output_dir models/mine/final
  python -m lit_rec recommend --model_dir models/mine/final
"""

TRAINING_COMMANDS = {
    "fit": "Train from a config: prepares raw data when needed, evaluates each epoch, keeps the best checkpoint.",
    "validate": "Metrics of the validation queries, for a base model or a checkpoint.",
    "test": "Metrics of the test queries, which chose nothing; prints earlier tests beside it.",
    "predict": "The best products of every query, written to parquet.",
}
"""What LightningCLI parses, and what it is for."""

COMMANDS: dict[str, Command | str] = {
    "prepare": commands.prepare,
    "evaluate": commands.evaluate,
    "fit_ranker": commands.fit_ranker,
    "compare": commands.compare,
    "recommend": commands.recommend,
    "export": commands.export,
    "package": commands.package,
    "push": commands.push,
    "feedback": feedback.SUMMARY,  # has commands of its own
    **TRAINING_COMMANDS,
}
"""Function of each command, or the summary of one whose arguments are not its own."""

_LOOK = "Look at what is there, or name another place"
_AFTER = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room there, or name a place on another disk"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Change its permissions, or name another place"),
}
"""What to do about an error of the system, by its number."""


def main(args: Sequence[str] | None = None) -> object:
    """Run one command.

    Args:
        args: command line after the program's name. None for the process's own: errors are then printed and end the
            process with status 1, instead of being raised.
    """
    if args is not None:
        return _run(list(args))
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    own = logging.getLogger("lit_rec")  # the libraries' own information stays out of the way
    own.addHandler(handler)
    own.setLevel(logging.INFO)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's & leave it
            signal.signal(number, _end)
    try:
        _run(sys.argv[1:], of_process=True)
    except LitRecError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    return None


def _end(number: int, frame: FrameType | None) -> None:
    """End with the status that a shell expects, through every clean-up; Lightning would make it 0 or 1."""
    sys.stderr.write("Interrupted; nothing half-written is left behind.\n")
    sys.exit(128 + number)


def _run(words: list[str], *, of_process: bool = False) -> object:
    words = present_words(words)
    try:
        if words and words[0] in TRAINING_COMMANDS:
            from lit_rec.training.lightning_cli import run

            if not of_process:
                return run(words)
            sys.argv[1:] = words  # what another process of a distributed run is started with
            return run(None)
        function, arguments = parse(words)
        return function(**arguments)
    except LitRecError:
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lit_rec"):
            raise
        found, do = f"there is no module {error.name}", "pip install 'lit_rec[serve]'"
        raise SettingError(f"{words[0]} needs more than the base installation", found, do) from error
    except OSError as error:  # a full disk, a place that cannot be read or written
        why = f"{error.strerror}: {error.filename}" if error.filename else first_line(error)
        raise FileError(f"{words[0]} could not go on", why, _AFTER.get(error.errno or 0, _LOOK)) from error


def parse(words: Sequence[str]) -> tuple[Command, dict[str, Any]]:
    """The function that a command line asks for, and its arguments; help and mistakes end the process.

    Args:
        words: command line after the program's name, of any command but the four that LightningCLI parses.
    """
    if words[:1] == ["feedback"]:
        return _parse(feedback.COMMANDS, words[1:], _Overview(f"{PROG} feedback", description=feedback.SUMMARY))
    return _parse(COMMANDS, words, _Overview(PROG, description=_DESCRIPTION))


def _parse(
    table: Mapping[str, Command | str], words: Sequence[str], overview: ArgumentParser
) -> tuple[Command, dict[str, Any]]:
    named = table.get(words[0]) if words else None
    if callable(named):
        from lit_rec.core.parser import call_arguments, command_parser

        return named, call_arguments(named, command_parser(named, f"{overview.prog} {words[0]}").parse_args(words[1:]))
    choices = overview.add_subparsers(title="commands", metavar="COMMAND", description="Each has its own --help.")
    choices.required = True
    for name, command in table.items():
        summary = command if isinstance(command, str) else (command.__doc__ or "").partition("\n")[0]
        choices.add_parser(name, help=summary)
    overview.parse_args(words)  # prints help, or what is wrong, and ends
    raise ValueError(f"{words[0]} is parsed elsewhere")


class _Overview(ArgumentParser):
    """The help that lists commands."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog, description=description, formatter_class=RawDescriptionHelpFormatter)
        self.add_argument("-V", "--version", action="version", version=f"lit_rec {__version__}")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and end with status 2."""
        self.exit(2, f"error: {message}\n{self.prog} --help explains\n")
