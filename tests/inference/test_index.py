"""An index of embeddings that is right or built again."""

import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lit_rec.core.errors import ShapeError
from lit_rec.inference.index import EmbeddingIndex, load_or_build

CORPUS = {"7": "milk", "3": "bread", "11": "oat milk", "5": "rye bread"}


def vectors(rows):
    return np.array(rows, dtype=np.float32)


class Encoder:
    """Gives each text a vector of its own, and counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, texts):
        self.calls += 1
        return np.stack([np.random.default_rng(list(text.encode())).normal(size=4) for text in texts]).astype(
            np.float32
        )


@pytest.mark.parametrize("embeddings", [np.ones(2, np.float32), np.ones((3, 2), np.float32)], ids=["flat", "more"])
def test_embeddings_that_do_not_fit_the_ids(embeddings):
    with pytest.raises(ShapeError, match="2 ids"):
        EmbeddingIndex(["a", "b"], embeddings)


# --- cache


@pytest.fixture
def encoder():
    return Encoder()


@pytest.fixture
def entry(tmp_path, encoder):
    """The folder of one built index."""
    load_or_build(tmp_path / "cache", CORPUS, "weights", encoder)
    (folder,) = (tmp_path / "cache").iterdir()
    encoder.calls = 0
    return folder


def assert_right(index, corpus=CORPUS):
    assert index.product_ids == list(corpus)
    np.testing.assert_array_equal(index.embeddings, Encoder()(list(corpus.values())))
    assert index.embeddings.dtype == np.float32


def test_a_hit_does_not_encode_again(entry, encoder, caplog):
    assert_right(load_or_build(entry.parent, dict(CORPUS), "weights", encoder))
    assert encoder.calls == 0
    assert not caplog.records


@pytest.mark.parametrize(
    ("corpus", "fingerprint"),
    [
        pytest.param(CORPUS, "other weights", id="other weights"),
        pytest.param(CORPUS | {"3": "white bread"}, "weights", id="other text"),
        pytest.param({f"{key}0": text for key, text in CORPUS.items()}, "weights", id="other ids"),
        pytest.param(dict(reversed(CORPUS.items())), "weights", id="other order"),
        pytest.param(dict(zip(CORPUS, reversed(CORPUS.values()), strict=True)), "weights", id="texts swapped"),
        pytest.param(CORPUS | {"9": ""}, "weights", id="one product more"),
    ],
)
def test_other_content_is_another_entry(entry, encoder, corpus, fingerprint):
    assert_right(load_or_build(entry.parent, corpus, fingerprint, encoder), corpus)
    assert encoder.calls == 1
    assert len(list(entry.parent.iterdir())) == 2
    assert_right(load_or_build(entry.parent, CORPUS, "weights", encoder))
    assert encoder.calls == 1, "the first entry is still there"


def test_where_one_text_ends_and_the_next_begins_counts(tmp_path, encoder):
    for corpus in ({"a": "bc", "d": "e"}, {"a": "b", "cd": "e"}, {"ab": "c", "d": "e"}, {"a": "bcd", "": "e"}):
        assert_right(load_or_build(tmp_path, corpus, "weights", encoder), corpus)
    assert encoder.calls == 4


@pytest.mark.parametrize("change", ["moved", "copied", "touched"])
def test_path_and_time_do_not_matter(tmp_path, entry, encoder, change):
    cache, other = entry.parent, tmp_path / "elsewhere" / "renamed"
    if change == "moved":
        other.parent.mkdir()
        cache = cache.rename(other)
    elif change == "copied":
        cache = shutil.copytree(cache, other, copy_function=shutil.copyfile)
    for path in [cache, *cache.rglob("*")]:
        os.utime(path, (1, 1))
    assert_right(load_or_build(cache, CORPUS, "weights", encoder))
    assert encoder.calls == 0


def _truncate(file):
    file.write_bytes(file.read_bytes()[:-5])


def _flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


def _swap_ids(file):
    file.write_text(json.dumps([*list(CORPUS)[1:], next(iter(CORPUS))]))


def _manifest(change):
    def damage(file):
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("embeddings.npy", _truncate, id="truncated embeddings"),
        pytest.param("embeddings.npy", _flip_a_bit, id="one bit of the embeddings"),
        pytest.param("embeddings.npy", lambda file: file.write_bytes(b""), id="empty embeddings"),
        pytest.param("embeddings.npy", lambda file: file.unlink(), id="no embeddings"),
        pytest.param("embeddings.npy", lambda file: (file.unlink(), file.mkdir()), id="a folder for embeddings"),
        pytest.param(
            "embeddings.npy", lambda file: np.save(file, np.ones((4, 4), np.float32)), id="others' embeddings"
        ),
        pytest.param("product_ids.json", _swap_ids, id="swapped ids"),
        pytest.param("product_ids.json", lambda file: file.write_text(""), id="empty ids"),
        pytest.param("product_ids.json", lambda file: file.unlink(), id="no ids"),
        *(
            pytest.param("manifest.json", lambda file, text=text: file.write_text(text), id=f"manifest {text!r}")
            for text in ("", "[]", "null", "3", '"key"', "{}", '{"key": ', "\x00")
        ),
        pytest.param("manifest.json", lambda file: file.write_bytes(b"\xff\xfe{}"), id="manifest no UTF-8"),
        pytest.param("manifest.json", lambda file: file.unlink(), id="no manifest"),
        *(
            pytest.param("manifest.json", _manifest(lambda m, v=value: m.update(sha256=v)), id=f"hashes {value!r}")
            for value in ([], {}, None, "", {"embeddings.npy": None, "product_ids.json": None})
        ),
        pytest.param("manifest.json", _manifest(lambda m: m.pop("sha256")), id="no hashes"),
        pytest.param("manifest.json", _manifest(lambda m: m.update(key="0" * 64)), id="another's key"),
    ],
)
def test_a_damaged_entry_is_built_again_with_a_warning(entry, encoder, caplog, name, damage):
    damage(entry / name)
    assert_right(load_or_build(entry.parent, CORPUS, "weights", encoder))
    assert encoder.calls == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(entry) in record.getMessage()
    assert "damaged" in record.getMessage()

    assert_right(load_or_build(entry.parent, CORPUS, "weights", encoder))
    assert encoder.calls == 1, "the entry is mended"


def test_unsound_embeddings_are_not_read_where_the_hashes_are_missing(entry, encoder):
    (entry / "embeddings.npy").write_bytes(b"")
    (entry / "manifest.json").write_text(json.dumps({"key": json.loads((entry / "manifest.json").read_text())["key"]}))
    assert_right(load_or_build(entry.parent, CORPUS, "weights", encoder))


def test_no_cache_writes_nothing(tmp_path, encoder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_right(load_or_build(None, CORPUS, "weights", encoder))
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, encoder, caplog):
    (tmp_path / "file").write_text("not a folder")  # root may write into any folder, but not into a file
    assert_right(load_or_build(tmp_path / "file" / "cache", CORPUS, "weights", encoder))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "could not be kept" in record.getMessage()


def test_a_full_disk_costs_a_warning_only(tmp_path, encoder, caplog, monkeypatch):
    def save(file, array):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", save)
    assert_right(load_or_build(tmp_path / "cache", CORPUS, "weights", encoder))
    assert "No space left" in caplog.text
    assert not list((tmp_path / "cache").iterdir())


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, encoder):
    def interrupted(texts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_build(tmp_path / "cache", CORPUS, "weights", interrupted)
    assert not list(tmp_path.iterdir())

    def save(file, array):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(KeyboardInterrupt):
        load_or_build(tmp_path / "cache", CORPUS, "weights", encoder)
    assert not list((tmp_path / "cache").iterdir())


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from lit_rec.inference.index import load_or_build

def save(file, array):
    file.write_bytes(b"half")
    os.kill(os.getpid(), 9)

np.save = save
load_or_build(Path(sys.argv[1]), {"7": "milk", "3": "bread", "11": "oat milk", "5": "rye bread"}, "weights",
              lambda texts: np.ones((4, 2), np.float32))
"""


def test_a_killed_build_is_not_trusted_and_is_cleared_away(tmp_path, encoder, caplog):
    cache = tmp_path / "cache"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(cache)], check=False, timeout=60)
    assert killed.returncode == -9
    assert [path.name.startswith(".") for path in cache.iterdir()] == [True]
    assert_right(load_or_build(cache, CORPUS, "weights", encoder))
    assert encoder.calls == 1
    assert not caplog.records
    assert [path.name.startswith(".") for path in cache.iterdir()] == [False]
