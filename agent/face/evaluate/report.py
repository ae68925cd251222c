"""What an evaluation found, as figures and as words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from agent.config.schema import Face
from agent.face.evaluate.statistics import Evaluation, Rate, Row
from agent.face.evaluate.work import Embedded
from agent.face.score import TARGET_FAR, threshold_of

#: Cosines at which the table shows both errors, beside the threshold in force.
SHOWN = (0.30, 0.36, 0.40, 0.42, 0.45, 0.50, 0.55)


def report(
    evaluation: Evaluation, found: Embedded, face: Face, model: str, chip_bytes: int | None
) -> dict[str, Any]:
    """Return every figure, with stable English keys."""
    threshold = threshold_of(face)
    rows = [evaluation.at(at) for at in sorted({*SHOWN, threshold})]
    target = TARGET_FAR / face.attempts
    return {
        "model": model,
        "threshold": threshold,
        "attempts": face.attempts,
        "simulated_chip_bytes": chip_bytes,
        "images": len(found.live),
        "refused": dict(sorted(Counter(found.refused.values()).items())),
        "genuine_pairs": int(evaluation.genuine.sum()),
        "impostor_pairs": int(evaluation.impostor.sum()),
        "rates": [_row(row) for row in rows],
        "equal_error": _row(evaluation.equal_error()),
        "target_far": target,
        "suggested_threshold": evaluation.threshold_for(target),
        "floor": face.floor,
    }


def _row(row: Row) -> dict[str, Any]:
    return {"threshold": row.threshold, "far": _rate(row.far), "frr": _rate(row.frr)}


def _rate(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {"events": rate.events, "pairs": rate.trials, "rate": rate.value, "low": low, "high": high}


def lines(told: dict[str, Any], lang: str) -> Iterator[str]:
    """Yield the report for people."""
    zh = lang == "zh"
    pairs = (told["images"], told["genuine_pairs"], told["impostor_pairs"], told["model"])
    yield (
        "照片 {}，同一人 {} 对，不同人 {} 对，模型 {}"
        if zh
        else "{} pictures, {} pairs of one person, {} of strangers, model {}"
    ).format(*pairs)
    for reason, number in told["refused"].items():
        yield (f"  未用 {number} 张：{reason}" if zh else f"  {number} not used: {reason}")
    yield ""
    head = ("阈值", "误认率 FAR（95%）", "误拒率 FRR（95%）") if zh else ("at", "FAR (95 %)", "FRR (95 %)")
    yield f"{head[0]:<8} {head[1]:<34} {head[2]}"
    for row in told["rates"]:
        mark = " *" if row["threshold"] == told["threshold"] else ""
        yield f"{row['threshold']:<8g} {_shown(row['far']):<34} {_shown(row['frr'])}{mark}"
    yield ""
    yield from _advice(told, zh=zh)


def _shown(rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return "-"
    return f"{rate['rate']:.2e} ({rate['low']:.1e} .. {rate['high']:.1e})"


def _advice(told: dict[str, Any], *, zh: bool) -> Iterator[str]:
    target, suggested = told["target_far"], told["suggested_threshold"]
    if suggested is None:
        needed = round(3.9 / target)
        yield (
            f"不同人的照片对太少，无法证明误认率不超过 {target:.1e}：约需 {needed} 对"
            if zh
            else f"too few pairs of strangers to show a FAR of {target:.1e}: about {needed} are needed"
        )
    else:
        value = max(suggested, told["floor"])
        yield (
            f"误认率以 95% 把握不超过 {target:.1e}（每次 {told['attempts']} 试）：阈值至少 {value:.2f}"
            if zh
            else f"FAR at most {target:.1e}, 95 % certain ({told['attempts']} tries): threshold {value:.2f}"
        )
    yield (
        "分值来自所给照片；本院须用真实证件与真实人群验证（docs/face.md）"
        if zh
        else "figures of the given pictures: a site must measure its own cards and people (docs/face.md)"
    )
