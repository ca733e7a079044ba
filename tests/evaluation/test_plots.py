"""Pictures: readable PNGs that say what is what."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from lit_rec.evaluation.plots import learning_curve

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
