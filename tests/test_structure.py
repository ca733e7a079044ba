"""The house rules: a test file for every module, no junk drawer, nothing printed past rich, arrows that hold."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "lit_rec").rglob("*.py"))
LONGEST = 500  # lines

# Modules without a test file of their own name, each with the reason.
NO_TEST_OF_ITS_OWN = {
    "__init__": "holds nothing, or the version",
    "__main__": "two lines; the subprocess tests of the verbs go through it",
    "schema": "names alone",
    "tables": "names and types of columns; the tests of the sources go through it",
    "synthetic_catalogue": "internal to synthetic, and tested through it",
    "synthetic_words": "word lists",
    "collapse": "internal to comparison, and tested through it",
    "compare": "test_comparison goes through it",
    "phrases": "test_two_tower and test_encoder go through it",
    "tokenization": "test_encoder goes through it",
    "env": "four lines that Alembic runs; test_migrate goes through it",
    "v0001_events": "test_migrate goes through it",
    "v0002_served": "test_migrate goes through it",
    "kaggle_files": "internal to instacart, and tested through it",
}


def name_of(module):
    return module.relative_to(ROOT).as_posix()


def test_there_is_something_to_look_at():
    assert len(MODULES) > 20


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_has_a_test_file_of_its_name(module):
    if module.stem not in NO_TEST_OF_ITS_OWN:
        names = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
        assert any(name == f"test_{module.stem}.py" or name.startswith(f"test_{module.stem}_") for name in names)


def test_the_exceptions_are_modules_that_do_without():
    tested = {file.stem.removeprefix("test_") for file in (ROOT / "tests").rglob("test_*.py")}
    assert not tested & set(NO_TEST_OF_ITS_OWN), "these have tests now: take them off the list"
    assert not set(NO_TEST_OF_ITS_OWN) - {module.stem for module in MODULES}, "there are no such modules"


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "common", "misc"])
def test_there_is_no_junk_drawer(name):
    assert not [name_of(module) for module in MODULES if name in (module.stem, *module.relative_to(ROOT).parts)]


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_nothing_is_printed_past_rich_and_logging(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert not [node.lineno for node in calls if node.func.id in {"print", "breakpoint"}]


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_module_is_too_long_to_read(module):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_arrows_between_the_rooms_hold():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    if not Path(command[0]).exists():
        pytest.skip("needs import-linter: pip install -e '.[dev]'")
    linted = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert f"Contracts: {len(contracts)} kept, 0 broken." in linted.stdout
    assert len(contracts) >= 2
