import shutil
from pathlib import Path

import lit_rec
from lit_rec.packaging.source import source_sha256


def test_names_and_contents_count_and_caches_do_not(tmp_path):
    package = tmp_path / "a"
    (package / "part").mkdir(parents=True)
    (package / "part" / "one.py").write_text("1")
    first = source_sha256(package)
    assert source_sha256(shutil.copytree(package, tmp_path / "elsewhere")) == first
    (package / "part" / "__pycache__").mkdir()
    (package / "part" / "__pycache__" / "one.pyc").write_text("x")
    (package / ".hidden").write_text("x")
    assert source_sha256(package) == first
    (package / "part" / "one.py").write_text("2")
    changed = source_sha256(package)
    (package / "part" / "one.py").rename(package / "part" / "two.py")
    assert len({first, changed, source_sha256(package)}) == 3


def test_by_default_it_is_this_package():
    assert source_sha256() == source_sha256(Path(lit_rec.__file__).parent)
