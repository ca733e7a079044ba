"""Files and folders are whole or not there, whatever ends the process that writes them."""

import hashlib
import json
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_rec.files import read_json, replaced_when_complete, sha256_of_file, sha256_of_texts, write_json


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "made" / "here"


@pytest.fixture
def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def live_process():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


def contents(folder):
    return sorted(path.relative_to(folder.parent).as_posix() for path in folder.parent.rglob("*"))


def left_behind_by(pid, folder):
    leftover = folder.with_name(f".{folder.name}.unfinished-{pid}")
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("half")
    return leftover


def test_nothing_is_in_place_until_the_block_ends(folder):
    with replaced_when_complete(folder) as unfinished:
        (unfinished / "file").write_text("new")
        assert not folder.exists()
    assert contents(folder) == ["here", "here/file"]


def test_an_exception_leaves_nothing(folder):
    def broken_off():
        with replaced_when_complete(folder) as unfinished:
            (unfinished / "file").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert contents(folder) == []


def test_a_folder_in_place_is_replaced_whole(folder):
    folder.mkdir(parents=True)
    (folder / "old").write_text("old")
    with replaced_when_complete(folder) as unfinished:
        (unfinished / "new").write_text("new")
        assert (folder / "old").exists()
    assert contents(folder) == ["here", "here/new"]


def test_an_exception_leaves_the_folder_in_place_as_it_was(folder):
    folder.mkdir(parents=True)
    (folder / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), replaced_when_complete(folder):
        raise ZeroDivisionError
    assert contents(folder) == ["here", "here/old"]


def test_what_a_dead_process_left_behind_is_removed(folder, dead_process):
    left_behind_by(dead_process, folder)
    with replaced_when_complete(folder):
        pass
    assert contents(folder) == ["here"]


def test_what_a_live_process_is_writing_is_kept(folder, live_process):
    leftover = left_behind_by(live_process, folder)
    with replaced_when_complete(folder):
        pass
    assert (leftover / "half").exists()


def test_what_an_earlier_process_of_our_own_number_left_behind_is_removed(folder):
    """In a container every run has the number of the killed one."""
    left_behind_by(os.getpid(), folder)
    with replaced_when_complete(folder) as unfinished:
        assert list(unfinished.iterdir()) == []
    assert contents(folder) == ["here"]


def test_a_leftover_of_no_number_is_no_obstacle(folder):
    left_behind_by("copy", folder)
    with replaced_when_complete(folder):
        pass
    assert contents(folder) == ["here"]


def test_a_second_writer_of_the_same_process_does_not_remove_the_first_ones_work(folder):
    failures = []

    def second_writer():
        try:
            with replaced_when_complete(folder):
                pass
        except FileExistsError as error:
            failures.append(error)

    with replaced_when_complete(folder) as unfinished:
        (unfinished / "file").write_text("first")
        thread = threading.Thread(target=second_writer)
        thread.start()
        thread.join()
    assert len(failures) == 1
    assert contents(folder) == ["here", "here/file"]


def test_leftovers_of_a_folder_of_a_similar_name_are_not_ours(folder, dead_process):
    other = left_behind_by(dead_process, folder.with_name("here_too"))
    with replaced_when_complete(folder):
        pass
    assert other.exists()


def test_brackets_in_a_folder_name_are_just_letters(tmp_path, dead_process):
    folder = tmp_path / "[1]" / "a[1]"
    leftover = left_behind_by(dead_process, folder)
    with replaced_when_complete(folder):
        pass
    assert folder.is_dir()
    assert not leftover.exists()


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers())))
def test_json_comes_back_as_it_was_written(tmp_path_factory, value):
    file = tmp_path_factory.getbasetemp() / "value.json"
    write_json(file, value)
    assert read_json(file) == value


def test_json_has_an_entry_a_line_and_letters_as_they_are(tmp_path):
    write_json(tmp_path / "value.json", {"1": "Jalapeño", "2": "b"})
    assert (tmp_path / "value.json").read_text(encoding="utf-8") == '{\n"1": "Jalapeño",\n"2": "b"\n}'


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "value.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", {"a": object()})
    assert read_json(tmp_path / "value.json") == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path):
    file = tmp_path / "value.json"
    write_json(file, {"a": 1})
    script = f"""
import resource
from pathlib import Path
from lit_rec.files import write_json
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
write_json(Path({str(file)!r}), {{"a": "x" * 1_000}})
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "File too large" in run.stderr
    assert json.loads(file.read_text()) == {"a": 1}


def test_who_reads_the_old_file_meanwhile_reads_it_to_its_end(tmp_path):
    file = tmp_path / "value.json"
    write_json(file, {"a": 1})
    with file.open() as reader:
        write_json(file, {"b": 2})
        assert json.load(reader) == {"a": 1}


def test_a_file_hash_is_the_sha256_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@given(*(2 * [st.lists(st.text(alphabet="a1: é", max_size=3), max_size=4)]))
def test_text_hashes_are_equal_for_equal_sequences_only(left, right):
    assert (sha256_of_texts(left) == sha256_of_texts(right)) == (left == right)


def test_where_a_text_ends_counts():
    assert sha256_of_texts(["ab", "c"]) != sha256_of_texts(["a", "bc"])
    assert sha256_of_texts(["a", ""]) != sha256_of_texts(["a"])
