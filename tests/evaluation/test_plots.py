"""Plots: readable PNGs that say what is what, as files and as matplotlib holds them."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from lit_rec.evaluation.plots import learning_curve, metric_bars, plot_report, recall_curves
from lit_rec.evaluation.report import make_report
from lit_rec.metrics.intervals import Estimate

LOSSES = [(10, 3.0), (20, 2.0), (30, 1.5), (40, 1.4)]
NAMES = ("ndcg@10", "recall@10", "repeat_recall@10", "explore_recall@100")
EVALUATIONS = [{"step": step, **dict.fromkeys(NAMES, 0.01 * step), "n_queries": 9.0} for step in (0, 20, 40)]


@pytest.fixture(autouse=True)
def _warnings_fail():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, as matplotlib holds them; they are still written."""
    saved = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: saved.append(self) or savefig(self, *args, **kwargs)
    )
    return saved


def assert_a_picture(file):
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(file)
    assert pixels.shape == (480, 1320, 4)
    for half in np.split(pixels, 2, axis=1):
        assert half.std() > 0.01, "something is drawn on either side"


@pytest.mark.parametrize(
    ("losses", "evaluations"),
    [
        pytest.param(LOSSES, EVALUATIONS, id="both"),
        pytest.param([], EVALUATIONS[:1], id="before the first step"),
        pytest.param(LOSSES, [], id="no evaluation"),
        pytest.param([], [], id="nothing"),
        pytest.param(LOSSES[:1], [dict.fromkeys(("step", *NAMES), float("nan"))], id="metrics that do not apply"),
    ],
)
def test_a_readable_picture(tmp_path, losses, evaluations):
    file = tmp_path / "run" / "learning_curve.png"
    learning_curve(file, losses, evaluations)
    assert_a_picture(file)
    assert [path.name for path in file.parent.iterdir()] == ["learning_curve.png"]


def test_labels_and_lines(tmp_path, figures):
    learning_curve(tmp_path / "curve.png", LOSSES, EVALUATIONS)
    ((left, right),) = (figure.axes for figure in figures)
    assert (left.get_title(), left.get_xlabel()) == ("Training loss", "step")
    assert (right.get_title(), right.get_xlabel()) == ("Validation, whole catalogue", "step")
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["batch", "smoothed"]
    assert [text.get_text() for text in right.get_legend().get_texts()] == list(NAMES)
    assert [list(line.get_xdata()) for line in right.lines] == [[0, 20, 40]] * len(NAMES)
    assert list(right.lines[0].get_ydata()) == pytest.approx([0, 0.2, 0.4])
    assert right.get_ylim()[0] == 0
    batch, smoothed = (list(line.get_ydata()) for line in left.lines)
    assert batch == [3.0, 2.0, 1.5, 1.4]
    # Weights 1; 0.9 and 1; 0.81, 0.9 and 1: the average of what was seen, the newest heaviest.
    assert smoothed[:3] == pytest.approx([3, (2.7 + 2) / 1.9, (0.81 * 3 + 0.9 * 2 + 1.5) / 2.71])


def test_no_losses_no_lines(tmp_path, figures):
    learning_curve(tmp_path / "curve.png", [], EVALUATIONS)
    left, right = figures[0].axes
    assert not left.lines
    assert len(right.lines) == len(NAMES)


def test_drawn_again_in_its_place(tmp_path):
    file = tmp_path / "curve.png"
    learning_curve(file, LOSSES[:1], EVALUATIONS[:1])
    before = file.read_bytes()
    learning_curve(file, LOSSES, EVALUATIONS)
    assert file.read_bytes() != before
    assert_a_picture(file)


@pytest.fixture
def report(make):
    results = [make.results(name, 30, seed=seed) for seed, name in enumerate(("models/a/final", "popularity"))]
    return make_report(results, baselines=["popularity"], n_resamples=50, about={"split": "test"})


def test_three_plots_that_show_something(report, tmp_path):
    plot_report(report, tmp_path / "new" / "plots")
    files = sorted((tmp_path / "new" / "plots").iterdir())
    assert [file.name for file in files] == ["metrics.png", "recall_at_k.png", "repeat_explore.png"]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert imread(file).std() > 0.05


def test_titles_say_what_and_of_how_many(report, tmp_path, figures):
    plot_report(report, tmp_path)
    bars, curves, repeat = figures
    assert bars.get_suptitle() == "30 test queries, whole catalogue; 95 % intervals"
    assert repeat.get_suptitle() == "Repeat and explore apart, 30 test queries; 95 % intervals"
    assert curves.axes[0].get_title() == "Recall@k of 30 test queries, whole catalogue"
    assert bars.axes[0].get_title() == "NDCG@10"
    assert "popularity" in bars.get_supxlabel()


def test_bars_are_the_means_best_on_top(report, tmp_path, figures):
    plot_report(report, tmp_path)
    best_first = sorted(report["methods"], key=lambda name: -report["methods"][name]["ndcg@10"])
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == best_first
    assert [bar.get_width() for bar in axes.patches[:2]] == [report["methods"][m]["ndcg@10"] for m in best_first]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_metrics_that_apply_to_nothing_are_left_out(report, tmp_path):
    for values in report["methods"].values():
        values.update(dict.fromkeys([name for name in values if "explore" in name or "repeat" in name]))
    plot_report(report, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


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


@pytest.mark.parametrize("panels", [{}, {"one": {"a": Estimate(0.0)}}, {"one": {"a": Estimate(0.2, 0.1, 0.3)}}])
def test_bars_of_little(tmp_path, panels):
    metric_bars(tmp_path / "bars.png", panels, "title")
    assert np.isfinite(imread(tmp_path / "bars.png")).all()


def test_no_curve(tmp_path):
    recall_curves(tmp_path / "curve.png", {}, "title")
    assert (tmp_path / "curve.png").is_file()
