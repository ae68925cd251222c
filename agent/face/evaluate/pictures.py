"""Score distributions and the ROC, as PNG. Needs matplotlib (`pip install kiosk-agent[evaluate]`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agent.catalogue import AgentError
from agent.face.evaluate.statistics import STEPS, Evaluation

#: Steps a bar of the histogram: 0.02 of a cosine.
_BAR = 200


def draw(evaluation: Evaluation, threshold: float, out: Path) -> list[Path]:
    """Write both pictures. AgentError E2703 when matplotlib is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise AgentError("E2703") from None
    mpl.use("Agg")
    return [_distributions(evaluation, threshold, out), _roc(evaluation, out)]


def _distributions(evaluation: Evaluation, threshold: float, out: Path) -> Path:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    edges = np.arange(-1, 1.0001, _BAR / 10_000)
    kinds = (("strangers", evaluation.impostor, "#c0392b"), ("same person", evaluation.genuine, "#2471a3"))
    for name, counts, colour in kinds:
        bars = np.add.reduceat(counts[: STEPS - 1], np.arange(0, STEPS - 1, _BAR)).astype(float)
        total = max(float(counts.sum()), 1.0)
        axes.stairs(bars / total, edges, fill=True, alpha=0.5, color=colour, label=f"{name} ({int(total):,})")
    axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:g}")
    axes.set(xlabel="cosine", ylabel="share of pairs", xlim=(-0.4, 1.0))
    axes.legend()
    return _saved(figure, out / "distributions.png")


def _roc(evaluation: Evaluation, out: Path) -> Path:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 5))
    accepted, passed = evaluation.curve()
    axes.step(np.maximum(accepted, 1e-9), passed, where="post")
    lowest = 0.5 / max(int(evaluation.impostor.sum()), 1)
    axes.set(
        xlabel="false-accept rate", ylabel="true-accept rate", xscale="log", xlim=(lowest, 1), ylim=(0, 1.01)
    )
    axes.grid(visible=True, which="both", alpha=0.3)
    return _saved(figure, out / "roc.png")


def _saved(figure: object, path: Path) -> Path:
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=120, bbox_inches="tight")  # type: ignore[attr-defined]  # a matplotlib figure
    plt.close(figure)  # type: ignore[arg-type]  # the same
    return path
