"""`capture`, `face compare|evaluate|accept`: camera and face engine, tried by hand."""

from __future__ import annotations

import base64
import sys
import time
from pathlib import Path
from typing import Any

import click

from agent.catalogue import AgentError, entries
from agent.cli.asking import agreed
from agent.cli.files import force_option, refuse, written
from agent.cli.options import Settings, Verb, VerbGroup, json_option, pass_settings
from agent.cli.screen import print_json
from agent.config import Config
from agent.config.schema import Face
from agent.control.ask import ask

#: Why no comparison was possible: the engine's fault, or a picture's.
ENGINE_REASONS = {"engine_none": "E2426", "engine_missing": "E2426"}
PICTURE_REASONS = {
    "no_picture": ("不是可读的图片", "no readable picture"),
    "no_face": ("照片上找不到人脸", "no face on a picture"),
    "several_people": ("照片上不止一人", "more than one person on a picture"),
}


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(capture)
    group.add_command(face)


@click.command(cls=Verb)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="照片存到 / where to put the picture"
)
@force_option
@json_option
@pass_settings
def capture(settings: Settings, out: Path, force: bool, as_json: bool) -> None:
    """拍一张照片，说明是否合格 / take one picture and say whether it would do."""
    refuse(out, force=force)
    found = settings.ask("camera.picture")
    picture = base64.b64decode(found["jpeg"])
    written(out, picture, force=force)
    if as_json:
        print_json(
            {"file": str(out), "bytes": len(picture), "reason": found["reason"], "code": found["code"]}
        )
    elif found["code"]:
        title = entries()[found["code"]].title(settings.language)
        settings.say(f"已保存 {out}，但不合格：{title}", f"kept as {out}, but it would not do: {title}")
    else:
        settings.say(f"已保存 {out}，画面合格", f"kept as {out}; it would do")


@click.group(cls=VerbGroup)
def face() -> None:
    """人脸比对工具 / tools for the face comparison."""


@face.command()
@click.argument("a", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@pass_settings
def compare(settings: Settings, a: Path, b: Path, as_json: bool) -> None:
    """比对两张照片 / compare two pictures."""
    from agent.face.compare import face_compare, first_is_unfit
    from agent.records import FaceResult

    config = config_if_any(settings)
    started = time.perf_counter()
    face = config.face if config else Face()
    verdict = face_compare(a.read_bytes(), b.read_bytes(), face)
    passed = None if verdict.result is FaceResult.NOT_VERIFIED else verdict.result is FaceResult.PASSED
    if as_json:
        print_json(
            {
                "cosine": verdict.cosine,
                "face_score": verdict.score,
                "passed": passed,
                "reason": verdict.reason,
                "threshold": verdict.threshold,
                "pass_score": verdict.pass_score,
                "model": verdict.model or None,
                "mapping": verdict.mapping or None,
                "ms": round((time.perf_counter() - started) * 1000),
            }
        )
    if passed is None:
        reason = verdict.reason
        if reason in ENGINE_REASONS:
            raise AgentError(ENGINE_REASONS[reason])
        unfit = a if first_is_unfit(a.read_bytes(), reason, face) else b
        raise _impossible(reason, unfit, settings.language)
    if not as_json:
        zh, en = ("通过", "passed") if passed else ("未通过", "not passed")
        numbers = (verdict.score, verdict.pass_score, verdict.cosine, verdict.threshold, verdict.model)
        settings.say(
            "{}：分值 {}（{} 起通过），余弦 {:.4f}，阈值 {}，模型 {}".format(zh, *numbers),
            "{}: score {} (passes from {}), cosine {:.4f}, threshold {}, model {}".format(en, *numbers),
        )


def _impossible(reason: str, unfit: Path, lang: str) -> AgentError:
    """Return why two pictures could not be compared, for people; programs read the `reason`."""
    zh, en = PICTURE_REASONS.get(reason, (reason, reason))
    return AgentError("E2427", path=unfit, why=zh if lang == "zh" else en)


@face.command()
@click.option("--yes", is_flag=True, help="不再询问 / do not ask")
@json_option
@pass_settings
def accept(settings: Settings, yes: bool, as_json: bool) -> None:
    """确认阈值已经本院真实证件验证 / say that the threshold was tried with real cards; audited."""
    config = settings.config()
    state: dict[str, Any] = ask(config, "face.state")
    if not yes and not as_json and state["model"] is not None:
        settings.say(
            f"模型 {state['model']}，阈值 {state['threshold']}。确认前请读 docs/face.md。",
            f"model {state['model']}, threshold {state['threshold']}. Read docs/face.md first.",
        )
        agreed(
            settings,
            "已用本院真实证件试用，并接受其误拒与误认？",
            "Tried with real cards of this hospital, and its errors accepted?",
        )
    state = ask(config, "face.accept")
    if as_json:
        print_json(state)
    else:
        settings.say(
            f"已记录：模型 {state['model']}，阈值 {state['threshold']}",
            f"recorded: model {state['model']}, threshold {state['threshold']}",
        )


@face.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("face-evaluation"),
    show_default=True,
    help="图与中间文件 / where pictures and the work file go",
)
@click.option(
    "--simulate-chip",
    "chip_bytes",
    type=click.IntRange(600, 20_000),
    help="一侧按芯片照片压缩到此字节数 / degrade one side to a chip's photo of so many bytes",
)
@json_option
@pass_settings
def evaluate(settings: Settings, folder: Path, out: Path, chip_bytes: int | None, as_json: bool) -> None:
    """用一批照片测误认率与误拒率，可中断后继续 / error rates on a folder of pictures; resumable."""
    from agent.face.engine import load
    from agent.face.evaluate import dataset, pictures, report, work

    config = config_if_any(settings)
    chosen = config.face if config else Face()
    engine = load(chosen)
    if engine is None:
        raise AgentError("E2426")
    data = dataset.load(folder)
    out.mkdir(parents=True, exist_ok=True)
    with click.progressbar(length=len(data.pictures), label=str(folder), file=sys.stderr) as bar:
        found = work.embed(engine, data, chip_bytes, out, bar.update)
    evaluation = work.compared(data, found)
    told = report.report(evaluation, found, chosen, engine.model, chip_bytes)
    drawn = pictures.draw(evaluation, told["threshold"], out)
    # Embeddings are biometric data: they are kept for a run that was cut off, not for one that has ended.
    (out / work.WORK_FILE).unlink(missing_ok=True)
    told["pictures"] = [str(path) for path in drawn]
    if as_json:
        print_json(told)
        return
    for line in report.lines(told, settings.language):
        click.echo(line)


def config_if_any(settings: Settings) -> Config | None:
    """Return the configuration if there is one: comparing two files needs none."""
    return settings.config() if settings.has_file() else None
