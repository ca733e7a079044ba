"""Texts tokenised once and kept on disk; read through memory maps, so that no process holds them whole."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from lit_rec.data.ragged import concatenated_ranges, starts

Tokens = dict[str, Tensor]
"""``input_ids`` and ``attention_mask``, each int64 ``(B, L)``: what a transformer takes."""


class Tokenizer(Protocol):
    """What is asked of an encoder to tokenise for it."""

    @property
    def pad_token_id(self) -> int:
        """The id that fills up short rows."""

    @property
    def fingerprint(self) -> str:
        """Changes when the ids of any text would."""

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, special ones included, cut to the model's length."""


@dataclass(frozen=True)
class TokenTable:
    """The token ids of T texts, flat.

    Args:
        ids: int32 ``(sum of lengths,)``.
        starts: int64 ``(T + 1,)``; text ``t`` is ``ids[starts[t]:starts[t + 1]]``.
        pad_token_id: fills up short rows.
        file: folder and name that :func:`read_tokens` mapped it from; None for a table in memory.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    pad_token_id: int
    file: tuple[Path, str] | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __reduce__(self) -> tuple[Any, ...]:
        """A spawned worker maps the files itself: a pickled memory map would carry all of them."""
        if self.file is not None:
            return read_tokens, self.file
        return TokenTable, (self.ids, self.starts, self.pad_token_id)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 ``(T,)``: tokens of each text."""
        return np.diff(self.starts)

    def select(self, rows: NDArray[np.int64]) -> "TokenTable":
        """A table of these texts alone.

        Args:
            rows: int64 ``(S,)``.
        """
        ids = self.ids[concatenated_ranges(self.starts[rows], self.starts[rows + 1])]
        return TokenTable(ids, starts(self.lengths[rows]), self.pad_token_id)

    def padded(self, rows: NDArray[np.int64]) -> Tokens:
        """The texts at ``rows`` as one batch, padded to its longest.

        Args:
            rows: int64 ``(B,)``.
        """
        begin, end = self.starts[rows], self.starts[rows + 1]
        lengths = end - begin
        # A mask of the real tokens is filled row by row, in the order in which the texts stand one after another.
        mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
        input_ids = np.full(mask.shape, self.pad_token_id, dtype=np.int64)
        input_ids[mask] = self.ids[concatenated_ranges(begin, end)]
        return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def write_tokens(folder: Path, name: str, texts: Iterable[Sequence[str]], tokenizer: Tokenizer) -> None:
    """Tokenise chunks of texts one after another into ``folder``.

    Args:
        folder: an existing folder.
        name: what the texts are; the files are called after it.
        texts: chunks of texts, so that the whole need not be in memory.
        tokenizer: whose ids.
    """
    lengths: list[int] = []
    with (folder / f"{name}.ids").open("wb") as stream:
        for chunk in texts:
            rows = tokenizer.token_ids(chunk)
            lengths.extend(map(len, rows))
            stream.write(np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]).tobytes())
    np.save(folder / f"{name}.starts.npy", starts(np.array(lengths, dtype=np.int64)))
    (folder / f"{name}.json").write_text(json.dumps({"pad_token_id": tokenizer.pad_token_id}), encoding="utf-8")


def joined_tokens(folder: Path, name: str, parts: Sequence[tuple[Path, str]]) -> None:
    """Write tables one after another as one, without holding them in memory.

    Args:
        folder: an existing folder.
        name: of the whole.
        parts: folder and name of each table, at least one.
    """
    ends = []
    with (folder / f"{name}.ids").open("wb") as whole:
        for part_folder, part in parts:
            with (part_folder / f"{part}.ids").open("rb") as stream:
                ends.append(np.load(part_folder / f"{part}.starts.npy")[1:] + whole.tell() // np.int32().nbytes)
                shutil.copyfileobj(stream, whole)
    np.save(folder / f"{name}.starts.npy", np.concatenate(([0], *ends)))
    first_folder, first = parts[0]
    shutil.copyfile(first_folder / f"{first}.json", folder / f"{name}.json")


def read_tokens(folder: Path, name: str) -> TokenTable:
    """Open what :func:`write_tokens` wrote."""
    file = folder / f"{name}.ids"
    is_empty = file.stat().st_size == 0  # and cannot be mapped
    return TokenTable(
        ids=np.empty(0, np.int32) if is_empty else np.memmap(file, dtype=np.int32, mode="r"),
        starts=np.load(folder / f"{name}.starts.npy", mmap_mode="r"),
        pad_token_id=json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["pad_token_id"],
        file=(folder, name),
    )


def chunked(
    n_rows: int, rows_to_texts: Callable[[slice], Sequence[str]], rows_per_chunk: int
) -> Iterable[Sequence[str]]:
    """The texts of ``n_rows`` rows, some at a time, under a progress bar where they are many."""
    begins = range(0, n_rows, rows_per_chunk)
    for begin in track(begins, description="Tokenising", disable=len(begins) < 3):
        yield rows_to_texts(slice(begin, min(begin + rows_per_chunk, n_rows)))


def length_sorted_chunks(table: TokenTable, rows: NDArray[np.int64], rows_per_chunk: int | None) -> list[Tokens]:
    """Rows that are sorted by length already, padded in chunks of their own: short texts stay short.

    Args:
        table: whose texts.
        rows: int64 ``(B,)``.
        rows_per_chunk: None for one chunk, which suits a GPU.
    """
    size = rows_per_chunk or max(len(rows), 1)
    return [table.padded(rows[start : start + size]) for start in range(0, len(rows), size)]
