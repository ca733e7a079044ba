"""The evaluation as a function, and what it can be asked; the command's own tests are in test_cli_evaluate.py."""

from pathlib import Path

import pytest

from lit_rec.core.errors import SettingError
from lit_rec.data.processed import ProcessedFolder
from lit_rec.evaluation.evaluate import evaluate
from lit_rec.evaluation.settings import EvaluationSettings


def asked(processed_dir, **settings):
    return EvaluationSettings(processed_dir, n_resamples=20, **{"baselines": ["popularity", "last_basket"]} | settings)


def test_the_report_and_no_file(processed_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    report = evaluate(asked(processed_dir, baseline="popularity"), command="as typed")
    assert (report["command"], report["baseline"]) == ("as typed", "popularity")
    assert list(report["methods"]) == ["popularity", "last_basket"]
    assert all(values["peak_gb"] >= 0 for values in report["methods"].values())
    assert "last_basket" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_split_without_queries(processed_dir, monkeypatch):
    nothing: dict[str, list[str]] = {query: [] for query in ProcessedFolder(processed_dir).queries}
    monkeypatch.setattr(ProcessedFolder, "relevant_docs", nothing)
    with pytest.raises(SettingError, match="No test queries in"):
        evaluate(asked(processed_dir))


def test_nothing_to_evaluate():
    with pytest.raises(SettingError, match="Nothing to evaluate"):
        EvaluationSettings()


@pytest.mark.parametrize("name", ["n_resamples", "chunk_size"])
def test_numbers_from_one(name):
    with pytest.raises(SettingError, match=f"{name} must be at least 1: got 0"):
        EvaluationSettings(baselines=["popularity"], **{name: 0})


def test_plots_are_beside_the_json():
    asked = {"base_model": True, "json": Path("results/a.json")}
    assert EvaluationSettings(**asked).plots_dir == Path("results/a")
    assert EvaluationSettings(**asked, plots=Path("there")).plots_dir == Path("there")
    assert EvaluationSettings(base_model=True).plots_dir is None
