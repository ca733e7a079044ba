"""Pictures of a run."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

_METRICS = ("ndcg@10", "recall@10", "repeat_recall@10", "explore_recall@100")


def learning_curve(file: Path, losses: Sequence[tuple[int, float]], evaluations: Sequence[dict[str, float]]) -> None:
    """Training loss and validation metrics over steps, side by side.

    Args:
        file: the PNG to write.
        losses: step and training loss.
        evaluations: validation metrics, each with its ``step``.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if losses:
        steps, values = zip(*losses, strict=True)
        left.plot(steps, values, color="0.75", linewidth=1, label="batch")
        left.plot(steps, _smoothed(values), color="C0", linewidth=2, label="smoothed")
        left.legend(frameon=False)
    left.set(title="Training loss", xlabel="step")
    for name in _METRICS:
        right.plot([e["step"] for e in evaluations], [e[name] for e in evaluations], marker="o", label=name)
    right.set(title="Validation, whole catalogue", xlabel="step", ylim=(0, None))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def _smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average, corrected for its start."""
    smoothed, average, norm = [], 0.0, 0.0
    for value in values:
        average, norm = weight * average + (1 - weight) * value, weight * norm + 1 - weight
        smoothed.append(average / norm)
    return smoothed
