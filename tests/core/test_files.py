"""Files and folders are whole or not there, whatever ends the process that writes them."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import save_file

from lit_rec.core.errors import FileError
from lit_rec.core.files import (
    check_folder,
    check_replaceable,
    check_writable,
    read_json,
    replaced_file,
    replaced_when_complete,
    sha256_of_file,
    sha256_of_texts,
    write_json,
)


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


def made_by_us(folder, record="record.json", **files):
    """A folder whose record names its files."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    write_json(folder / record, {"lit_rec_version": "1", "sha256": dict.fromkeys(files, "")})


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "our own", "one of an older version"])
def test_what_may_be_replaced(folder, there):
    if there == "an empty folder":
        folder.mkdir(parents=True)
    elif there == "our own":
        made_by_us(folder, old="old")
        (folder / "2_Normalize").mkdir()
        (folder / ".tokens").mkdir()
        (folder / ".old.unfinished-7").touch()
    elif there == "one of an older version":
        folder.mkdir(parents=True)
        (folder / "old").touch()
        write_json(folder / "record.json", {"lit_rec_version": "0"})
    with replaced_when_complete(folder, "record.json") as unfinished:
        (unfinished / "new").write_text("new")
    assert contents(folder) == ["here", "here/new"]


def foreign(folder, kind):
    if kind == "without a record":
        folder.mkdir(parents=True)
        (folder / "feedback.db").touch()
    elif kind == "hidden files":
        folder.mkdir(parents=True)
        (folder / ".git").mkdir()
    elif kind == "a record of something else":
        folder.mkdir(parents=True)
        write_json(folder / "record.json", {"name": "a web page"})
    elif kind == "a record that is a list":
        folder.mkdir(parents=True)
        write_json(folder / "record.json", ["lit_rec_version"])
    elif kind == "our own and more":
        made_by_us(folder, old="old")
        (folder / "notes.txt").touch()
    elif kind == "our own and a folder":
        made_by_us(folder, old="old")
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "best.ckpt").touch()
    elif kind == "our own and a link":
        made_by_us(folder, old="old")
        (folder / "link").symlink_to(folder.parent)
    elif kind == "a file":
        folder.parent.mkdir(parents=True)
        folder.touch()
    elif kind == "below a file":
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.touch()


@pytest.mark.parametrize(
    "kind",
    [
        "without a record",
        "hidden files",
        "a record of something else",
        "a record that is a list",
        "our own and more",
        "our own and a folder",
        "our own and a link",
        "a file",
        "below a file",
    ],
)
def test_what_is_not_ours_is_refused_before_any_work_and_stays(folder, kind):
    foreign(folder, kind)
    before = contents(folder.parent)
    with pytest.raises(FileError, match="here") as caught, replaced_when_complete(folder, "record.json"):
        pytest.fail("no work is begun")
    assert caught.value.do
    assert contents(folder.parent) == before


@pytest.mark.parametrize("place", ["..", ".", "/"])
def test_a_folder_around_us_is_refused(place, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FileError, match="which would be lost"):
        check_replaceable(Path(place), "record.json")


def test_what_others_write_there_during_the_work_stays(folder):
    made_by_us(folder, old="old")
    before = contents(folder)
    with pytest.raises(FileError, match=r"notes\.txt"), replaced_when_complete(folder, "record.json"):
        (folder / "notes.txt").touch()
    assert contents(folder) == [*before[:1], "here/notes.txt", *before[1:]]


def test_a_link_to_a_folder_stays_a_link(folder, tmp_path):
    made_by_us(tmp_path / "elsewhere", old="old")
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with replaced_when_complete(folder, "record.json") as unfinished:
        (unfinished / "new").touch()
    assert folder.is_symlink()
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["new"]


KILLED = """
import os, sys
from pathlib import Path
from lit_rec.core.files import replaced_when_complete
n_renames, rename = 0, Path.rename
def killed(self, target):
    global n_renames
    if n_renames == {after}:
        os._exit(9)
    n_renames += 1
    return rename(self, target)
Path.rename = killed
with replaced_when_complete(Path({folder!r}), "record.json") as unfinished:
    (unfinished / "new").touch()
"""


@pytest.mark.parametrize("after", [0, 1])
def test_a_kill_between_two_renames_loses_nothing(folder, after):
    made_by_us(folder, old="old")
    before = contents(folder)
    script = KILLED.format(folder=str(folder), after=after)
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    assert folder.exists() == (after == 0), "whole or not there"
    with pytest.raises(ZeroDivisionError), replaced_when_complete(folder, "record.json"):
        raise ZeroDivisionError
    assert contents(folder) == before


def test_an_interrupt_between_two_renames_brings_the_old_folder_back(folder, monkeypatch):
    made_by_us(folder, old="old")
    before = contents(folder)
    rename = Path.rename

    def interrupted(self, target):
        if ".unfinished-" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replaced_when_complete(folder, "record.json"):
        pass
    assert contents(folder) == before


def test_of_two_writers_at_once_the_last_one_wins(folder):
    """The other one comes between the two renames of this one."""
    made_by_us(folder, old="old")
    rename = Path.rename
    with pytest.MonkeyPatch.context() as patch, replaced_when_complete(folder, "record.json") as unfinished:
        (unfinished / "mine").touch()

        def with_another(self, target):
            moved = rename(self, target)
            if self == folder and not folder.exists():
                made_by_us(folder, other="other")
                patch.undo()
            return moved

        patch.setattr(Path, "rename", with_another)
    assert contents(folder) == ["here", "here/mine"]


def test_files_written_by_safetensors_have_the_mode_of_new_files(folder):
    with replaced_when_complete(folder) as unfinished:
        save_file({"a": np.zeros(3)}, unfinished / "model.safetensors")
        (unfinished / "record.json").touch()
    with replaced_file(folder / "ranker.safetensors") as unfinished:
        save_file({"a": np.zeros(3)}, unfinished)
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


@pytest.mark.parametrize("kind", ["a folder", "a device", "below a file"])
def test_a_file_that_cannot_be_written_is_known_before_the_work(kind, tmp_path):
    file = {"a folder": tmp_path, "a device": Path(os.devnull), "below a file": tmp_path / "file" / "here"}[kind]
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="written"):
        check_writable(None, file)
    with pytest.raises(FileError, match="written"), replaced_file(file):
        pytest.fail("no work is begun")
    assert not Path(os.devnull).is_file()


def test_a_place_that_is_read_only_is_known_before_the_work():
    """Where root cannot write either."""
    for check in (check_writable, check_folder, partial(check_replaceable, record="record.json")):
        with pytest.raises(FileError, match=r"/proc/made/here cannot be written: /proc: .*make this one writable"):
            check(Path("/proc/made/here"))


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        shutil.Error([("from", "to", "[Errno 28] No space left on device: 'from' -> 'to'")]),
    ],
)
def test_what_a_library_makes_of_an_error_of_the_system_is_that_again(folder, error):
    with pytest.raises(OSError, match="No space left") as caught, replaced_when_complete(folder):
        raise error
    assert caught.value.errno == errno.ENOSPC
    assert contents(folder) == []


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
from lit_rec.core.files import write_json
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


def test_a_model_of_an_older_version_with_a_run_around_it_is_not_replaced(folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    write_json(folder / "record.json", {"lit_rec_version": "0.1.0"})
    with pytest.raises(FileError, match="it holds checkpoints, which would be lost"):
        check_replaceable(folder, "record.json")


def test_a_check_brings_back_what_a_killed_run_had_moved_aside(folder, dead_process):
    made_by_us(folder, ranker="of hours")
    before = contents(folder)
    folder.rename(folder.with_name(f".{folder.name}.replaced-{dead_process}"))
    check_replaceable(folder, "record.json")
    assert contents(folder) == before
