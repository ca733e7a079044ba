"""The house rules: rooms that say what they are for, no junk drawer, nothing printed past rich, arrows that hold."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "lit_rec").rglob("*.py"))
ROOMS = sorted(file.parent for file in (ROOT / "lit_rec").glob("*/__init__.py"))
LONGEST = 500  # lines


def name_of(module):
    return module.relative_to(ROOT).as_posix()


def test_there_is_something_to_look_at():
    assert len(MODULES) > 20


def test_nothing_is_loose_beside_the_rooms():
    loose = {file.name for file in (ROOT / "lit_rec").glob("*.py")}
    assert loose == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_every_room_says_what_it_is_for_and_what_it_may_import(room):
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert "May import" in said


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
