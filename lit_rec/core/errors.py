"""Every error that lit_rec raises on purpose.

.. code-block:: text

    LitRecError
    ├── InputError (ValueError)               raw files: every problem found, in one report
    ├── ProcessedFolderError (ValueError)     a processed folder that cannot be used as asked
    │   └── NotPreparedError (FileNotFoundError)   there is none, or it is not finished
    ├── ModelFolderError (FileNotFoundError)  a model folder or hub id that cannot be loaded
    ├── CheckpointError (FileNotFoundError)   a checkpoint that is missing, damaged, or not of this model
    ├── BundleError (FileNotFoundError)       what package wrote is missing, damaged or of another lit_rec
    ├── CatalogueError (ValueError)           a catalogue that is not the model's
    ├── NotMeasuredError (ValueError)         a model without recorded metrics, where they are needed
    ├── FeedbackStoreError (ConnectionError)  the feedback database cannot be opened, read or written
    ├── FileError (OSError)                   a file or folder cannot be read, written or replaced
    ├── HubError (ConnectionError)            the Hugging Face Hub cannot be reached, or refuses
    ├── ServiceError (ConnectionError)        a recommendation service is not there, or refuses what it is asked
    ├── UnknownQueryError (KeyError)          an evaluation query id that the folder does not hold
    ├── SettingError (ValueError)             an argument or a setting out of its range
    └── ShapeError (ValueError)               tensors whose shapes do not fit together

A message has three parts: what was asked, what was found, what to do next. Each error also is the
builtin that a caller who does not know lit_rec would catch:

>>> try:
...     raise SettingError("top_k must be at least 1", "got 0", "pass --top_k 10")
... except ValueError as error:
...     print(error)
top_k must be at least 1: got 0. pass --top_k 10
"""

from collections.abc import Sequence
from dataclasses import dataclass


class LitRecError(Exception):
    """Base of all errors of this package.

    Args:
        asked: what the caller wanted, or the rule that was broken.
        found: what was there instead, with its values.
        do: the next step that mends it.
    """

    def __init__(self, asked: str, found: str = "", do: str = "") -> None:
        self.asked, self.found, self.do = asked, found, do
        super().__init__(asked, found, do)

    def __str__(self) -> str:
        message = f"{self.asked}: {self.found}" if self.found else self.asked
        return f"{message}. {self.do}" if self.do else message


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: where it is, what it is, and what to do about it.

    Args:
        file: name of the file.
        what: what is wrong, with the value found.
        do: what to do next.
        column: name of the column, where one is to blame.
        row: line number in the file (the header is line 1), where one is to blame.
    """

    file: str
    what: str
    do: str
    column: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        place = self.file
        place += f", column {self.column}" if self.column is not None else ""
        place += f", line {self.row:,}" if self.row is not None else ""
        return f"{place}: {self.what}. {self.do}"


class InputError(LitRecError, ValueError):
    """Raw input that cannot be used; reports every problem at once.

    Args:
        source: where the input came from.
        problems: all that is wrong with it, at least one.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1))
        super().__init__(f"{count} in the input from {source}", "\n" + lines)


class ProcessedFolderError(LitRecError, ValueError):
    """A processed folder is damaged, or was made with other settings than those asked for."""


class NotPreparedError(ProcessedFolderError, FileNotFoundError):
    """No finished processed folder where one was asked for."""


class ModelFolderError(LitRecError, FileNotFoundError):
    """A model folder or hub id is missing or cannot be loaded."""


class CheckpointError(LitRecError, FileNotFoundError):
    """A checkpoint is missing, damaged, or its tokens are not those of the model that loads it."""


class BundleError(LitRecError, FileNotFoundError):
    """A bundle is missing or damaged, or was packaged with another lit_rec."""


class CatalogueError(LitRecError, ValueError):
    """A catalogue is not the one that the model was trained on."""


class NotMeasuredError(LitRecError, ValueError):
    """A model records no metrics, and would be packaged or pushed."""


class FeedbackStoreError(LitRecError, ConnectionError):
    """The feedback database cannot be opened, read or written."""


class UnstorableError(FeedbackStoreError):
    """The feedback database refuses a value; others it would take."""


class OutcomeUnknownError(FeedbackStoreError):
    """Whether the feedback database has stored something is not known."""


class FileError(LitRecError, OSError):
    """A file or folder cannot be read, written or replaced as asked."""


class HubError(LitRecError, ConnectionError):
    """The Hugging Face Hub cannot be reached, or refuses."""


class ServiceError(LitRecError, ConnectionError):
    """A recommendation service that is called is not there, or refuses what it is asked."""


class UnknownQueryError(LitRecError, KeyError):
    """The processed folder holds no evaluation query of that id."""

    __str__ = LitRecError.__str__  # KeyError would print the repr of its arguments


class SettingError(LitRecError, ValueError):
    """An argument or a setting is out of its range."""


class ShapeError(LitRecError, ValueError):
    """Tensors whose shapes do not fit together."""


def first_line(error: Exception) -> str:
    """What another library's error says, in one line without a full stop; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
