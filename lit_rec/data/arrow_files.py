"""Tables streamed into a Hugging Face dataset on disk, so that a long one is never whole in memory."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, disable_progress_bars


def write_dataset(tables: Iterator[pa.Table], arrow_schema: pa.Schema, folder: Path) -> None:
    """Stream tables into a Hugging Face dataset on disk."""
    disable_progress_bars()  # of the empty cut; the chunks above have one
    stream_file = folder.with_name(f"{folder.name}.arrow")
    with pa.OSFile(str(stream_file), "wb") as sink, pa.ipc.new_stream(sink, arrow_schema) as stream:
        for table in tables:
            stream.write_table(table)
    # The records of a dataset from an empty cut of it; the stream is its file already, and need not be copied.
    Dataset.from_file(str(stream_file)).select(range(0)).save_to_disk(folder, num_shards=1)
    (data_file,) = folder.glob("*.arrow")
    stream_file.replace(data_file)
