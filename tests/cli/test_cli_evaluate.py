"""``python -m lit_rec evaluate``: what it is asked, writes, draws and prints."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest
from matplotlib.image import imread

from lit_rec.baselines.popularity import Popularity
from lit_rec.cli.main import main
from lit_rec.core.errors import LitRecError, NotPreparedError, SettingError
from lit_rec.data.prepare import prepare
from lit_rec.data.settings import PrepareSettings, RawData
from lit_rec.evaluation import methods
from lit_rec.evaluation.per_query import load_per_query
from lit_rec.metrics.retrieval import RetrievalMetrics

NAMES = ["popularity", "recency_frequency"]


@pytest.fixture(scope="module")
def prepared(processed_dir, tmp_path_factory):
    """A copy of the processed folder, so that the shared one gets no index."""
    return shutil.copytree(processed_dir, tmp_path_factory.mktemp("prepared") / processed_dir.name)


@pytest.fixture
def evaluate(prepared):
    def evaluate(*words, processed_dir=prepared):
        return main(["evaluate", "--processed_dir", str(processed_dir), "--n_resamples", "100", *map(str, words)])

    return evaluate


@pytest.fixture(scope="module")
def whole(prepared, tiny_model, tmp_path_factory):
    """One run with everything; its folder, and the report as read from the file."""
    folder = tmp_path_factory.mktemp("evaluation") / "made"
    words = ["--processed_dir", prepared, "--model_dir", tiny_model, "--baselines", *NAMES, "--device", "cpu"]
    words += ["--json", folder / "report.json", "--markdown", folder / "report.md"]
    words += ["--per_query", folder / "per_query.parquet", "--n_resamples", "200"]
    main(["evaluate", *map(str, words)])
    return folder, json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_the_contract_of_the_report(whole, tiny_model, prepared):
    _, report = whole
    assert list(report["methods"]) == [str(tiny_model), *NAMES]
    for values in report["methods"].values():
        assert 0 <= values["ndcg@10"] <= 1
        assert set(RetrievalMetrics(1).names) <= values.keys()
        assert {"explore_filtered_recall@100", "coverage@10", "n_queries", "ms_per_query", "peak_gb"} <= values.keys()
    assert report["processed_dir"] == str(prepared)
    assert report["n_left_out"] == 0
    assert report["baseline"] == "recency_frequency"
    assert report["differences"].keys() == {str(tiny_model), "popularity"}
    assert 0 < report["settings"]["recency_frequency"]["beta"] <= 1
    assert report["failed"] == {}
    assert report["methods"]["popularity"]["n_queries"] == report["n_queries"]


def test_differences_are_from_the_best_baseline(whole):
    _, report = whole
    popularity, best = (report["methods"][name]["ndcg@10"] for name in NAMES)
    found = report["differences"]["popularity"]["ndcg@10"]
    assert found["difference"] == pytest.approx(popularity - best)
    assert found["low"] <= found["difference"] <= 0


def test_the_command_can_be_run_again(whole):
    folder, report = whole
    words = shlex.split(report["command"])
    assert words[:4] == ["python", "-m", "lit_rec", "evaluate"]
    main([*words[3:], "--json", str(folder / "again.json"), "--plots", str(folder / "again")])
    again = json.loads((folder / "again.json").read_text(encoding="utf-8"))
    assert again["intervals"] == report["intervals"]
    assert again["slices"] == report["slices"]


def test_plots_are_beside_the_json(whole):
    folder, _ = whole
    files = sorted((folder / "report").iterdir())
    assert [file.name for file in files] == ["metrics.png", "recall_at_k.png", "repeat_explore.png"]
    assert all(imread(file).std() > 0.05 for file in files)


def test_per_query_results_give_the_means(whole):
    folder, report = whole
    for result in load_per_query(folder / "per_query.parquet"):
        assert result.summary()["ndcg@10"] == report["methods"][result.method]["ndcg@10"]


def test_markdown(whole):
    folder, _ = whole
    assert "| recency_frequency | 0." in (folder / "report.md").read_text(encoding="utf-8")


def test_what_to_run_next(evaluate, capsys, tmp_path):
    evaluate("--baselines", "popularity")
    assert "--json results/evaluation.json" in capsys.readouterr().out
    evaluate("--baselines", "popularity", "--json", tmp_path / "a.json")
    assert f"ls {tmp_path}/a/*.png" in capsys.readouterr().out.replace("\n", "")


def test_both_splits(evaluate, whole, prepared, caplog):
    report = evaluate("--baselines", "recency_frequency", "--split", "all")
    assert report["n_queries"] == len(json.loads((prepared / "eval_queries.json").read_text(encoding="utf-8")))
    assert report["n_queries"] == whole[1]["n_queries"] + report["n_validation_queries"]
    assert "also choose hyper-parameters" in caplog.text


def test_untuned_baselines_are_the_published_ones(evaluate):
    report = evaluate("--baselines", "recency_frequency", "--tune", "false")
    assert report["settings"] == {"recency_frequency": {"beta": 0.8}}
    assert (report["n_validation_queries"], report["tuned_by"]) == (0, None)


def test_a_folder_for_evaluation_alone(raw_dir, tmp_path, evaluate, caplog):
    sealed = prepare(RawData("instacart", raw_dir, tmp_path), PrepareSettings(eval_frac=1.0))
    with caplog.at_level("INFO", "lit_rec"):
        report = evaluate("--baselines", *NAMES, processed_dir=sealed)
    assert "own past orders" in caplog.text
    assert "own past orders" in report["fitted_on"]
    assert report["n_queries"] == len(json.loads((sealed / "eval_queries.json").read_text(encoding="utf-8")))


def test_a_method_that_fails_does_not_lose_the_others(evaluate, tmp_path, monkeypatch):
    class Broken(Popularity):
        def fit(self, training, product_texts):
            raise SettingError("too much", "got it")

    found = methods.baseline_class
    monkeypatch.setattr(methods, "baseline_class", lambda name: Broken if name == "last_basket" else found(name))
    with pytest.raises(LitRecError, match="1 of 2 methods failed: last_basket: SettingError: too much"):
        evaluate("--baselines", "last_basket", "popularity", "--json", tmp_path / "a.json", "--baseline", "last_basket")
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert list(report["methods"]) == ["popularity"]
    assert report["failed"] == {"last_basket": "SettingError: too much: got it"}


def test_all_methods_fail(evaluate, tmp_path):
    with pytest.raises(LitRecError, match="No method could be measured"):
        evaluate("--model_dir", tmp_path / "none")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([], "Nothing to evaluate", id="nothing"),
        pytest.param(["--baselines", "popularty"], "No baseline 'popularty'", id="unknown baseline"),
        pytest.param(["--baselines", "popularity", "popularity"], "named once", id="twice"),
        pytest.param(["--baselines", "popularity", "--baseline", "up_cf"], "it is not evaluated", id="baseline"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_any_work(evaluate, words, message):
    with pytest.raises(SettingError, match=message):
        evaluate(*words)


def test_no_folder(evaluate, tmp_path):
    with pytest.raises(NotPreparedError):
        evaluate("--baselines", "popularity", processed_dir=tmp_path)


def test_help_comes_without_torch():
    code = (
        "import sys\nfrom lit_rec.cli.main import main\n"
        "try:\n    main(['evaluate', '--help'])\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    for option in ("--model_dir", "--baselines", "--baseline", "--per_query", "--tune_by"):
        assert option in done.stdout


def test_former_flags_and_names_still_work(evaluate, tmp_path, caplog):
    words = ["--baselines", "popularity", "last_basket", "--against", "last_basket", "--json", tmp_path / "a.json"]
    report = evaluate(*words, "--pictures", tmp_path / "plots", "--tune_by", "explore_part_recall@100")
    assert report["baseline"] == "last_basket"
    assert report["tuned_by"] == "explore_filtered_recall@100"
    assert (tmp_path / "plots" / "metrics.png").is_file()
    assert "--against is now --baseline" in caplog.text
