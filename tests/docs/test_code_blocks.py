"""Every Python block of the documents runs as it stands, on a small processed folder and a tiny model."""

import json
import re
import shutil
from pathlib import Path

import pytest

from lit_rec.core import schema

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVED = {"serve.md"}  # a client of a running service: the slow test of its page runs it
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in SERVED)]
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
]


@pytest.fixture(scope="module")
def stand_ins(tiny_model, processed_dir, tmp_path_factory):
    """What the documents name, and what is there instead."""
    from lit_rec.cli.main import main

    model_dir = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("docs") / "final"))
    (model_dir / schema.MODEL_RECORD).write_text(json.dumps({"data": {}}), encoding="utf-8")
    small = ["--hidden_size", "8", "--ensemble_size", "1", "--max_epochs", "1"]
    main(["fit_ranker", "--model_dir", str(model_dir), "--processed_dir", str(processed_dir), *small])
    return {
        "models/quickstart/final": str(model_dir),
        "processed/complete_journey_p5_mp20_ef0.3_roll4": str(processed_dir),
        "sentence-transformers/all-MiniLM-L6-v2": str(tiny_model),
    }


def test_there_are_blocks():
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")  # on few loader workers, among others
def test_a_block_runs(block, stand_ins, tmp_path, monkeypatch):
    for named, there in stand_ins.items():
        block = block.replace(named, there)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "block", "exec"), {"__name__": "block"})
