"""The pictures of an evaluation, as files and as matplotlib holds them."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from lit_rec.evaluation.pictures import draw
from lit_rec.evaluation.plots import Bar, metric_bars, recall_curves
from lit_rec.evaluation.report import make_report


@pytest.fixture(autouse=True)
def _warnings_fail():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def figures(monkeypatch):
    saved = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: saved.append(self) or savefig(self, *args, **kwargs)
    )
    return saved


@pytest.fixture
def report(make):
    results = [make.results(name, 30, seed=seed) for seed, name in enumerate(("models/a/final", "popularity"))]
    return make_report(results, baselines=["popularity"], n_resamples=50, about={"split": "test"})


def test_three_pictures_that_show_something(report, tmp_path):
    files = draw(report, tmp_path / "new" / "pictures")
    assert [file.name for file in files] == ["metrics.png", "recall_at_k.png", "repeat_explore.png"]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert imread(file).std() > 0.05


def test_titles_say_what_and_of_how_many(report, tmp_path, figures):
    draw(report, tmp_path)
    bars, curves, repeat = figures
    assert bars.get_suptitle() == "30 test queries, whole catalogue; 95 % intervals"
    assert repeat.get_suptitle() == "Repeat and explore apart, 30 test queries; 95 % intervals"
    assert curves.axes[0].get_title() == "Recall@k of 30 test queries, whole catalogue"
    assert bars.axes[0].get_title() == "NDCG@10"
    assert "popularity" in bars.get_supxlabel()


def test_bars_are_the_means_best_on_top(report, tmp_path, figures):
    draw(report, tmp_path)
    best_first = sorted(report["methods"], key=lambda name: -report["methods"][name]["ndcg@10"])
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == best_first
    assert [bar.get_width() for bar in axes.patches[:2]] == [report["methods"][m]["ndcg@10"] for m in best_first]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_metrics_that_apply_to_nothing_are_left_out(report, tmp_path):
    for values in report["methods"].values():
        values.update(dict.fromkeys([name for name in values if "explore" in name or "repeat" in name]))
    assert all(file.is_file() for file in draw(report, tmp_path))


def test_recall_curves(tmp_path, figures):
    recall_curves(tmp_path / "curve.png", {"a": {1: 0.1, 10: 0.3}, "b": {1: 0.2, 10: 0.2}}, "title")
    (axes,) = figures[0].axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 10], [1, 10]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10"]


def test_many_methods_look_different_and_long_names_keep_their_end(tmp_path, figures):
    names = [f"models/a_long_name_of_a_run_that_goes_on_and_on/{number}/final" for number in range(20)]
    recall_curves(tmp_path / "curve.png", {name: {1: 0.1, 10: 0.2} for name in names}, "title")
    axes = figures[0].axes[0]
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 20
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(set(labels)) == 20
    assert all(label.startswith("…") and len(label) == 40 for label in labels)


@pytest.mark.parametrize("panels", [{}, {"one": {"a": Bar(0.0)}}, {"one": {"a": Bar(0.2, 0.1, 0.3)}}])
def test_bars_of_little(tmp_path, panels):
    metric_bars(tmp_path / "bars.png", panels, "title")
    assert np.isfinite(imread(tmp_path / "bars.png")).all()


def test_no_curve(tmp_path):
    recall_curves(tmp_path / "curve.png", {}, "title")
    assert (tmp_path / "curve.png").is_file()
