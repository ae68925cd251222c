"""`status`: how things are, problems first. Works with the daemon down, and with a damaged outbox."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent import lastcheck, lastrun, room
from agent.catalogue import AgentError, entries, entry
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import print_json, shown
from agent.clock import SystemClock
from agent.lastcheck import Checked
from agent.lastrun import LastRun
from agent.ops import down, host
from agent.ops import status as ops
from agent.ops.conditions import Problem, oldest_h, problems
from agent.ops.pages import WHO

if TYPE_CHECKING:
    from drivers.errors import CodedError

#: The configuration is wrong.
CONFIG_WRONG = 78

#: Every topic of the board; one without words is the page's own business.
TOPICS = {
    "screen": ("桌面", "desk"),
    "operator": ("操作人", "operator"),
    "reader": ("读卡器", "reader"),
    "decoder": ("照片解码", "photo decoder"),
    "camera": ("摄像头", "camera"),
    "face": ("人脸比对", "face comparison"),
    "intake": ("接入", "intake"),
    "last": ("上一条记录", "last record"),
    "outbox": ("队列", "queue"),
    "platform": ("平台", "platform"),
    "console": ("页面", "page"),
}
#: What only the page goes by.
PAGE_ONLY = {"desk", "hint"}
STATES = {
    "ok": ("正常", "ok"),
    "ready": ("就绪", "ready"),
    "busy": ("正在处理", "busy"),
    "attention": ("需要处理", "attention"),
    "down": ("故障", "down"),
    "off": ("未启用", "off"),
    "waiting": ("等待重试", "waiting"),
    "idle": ("无待传记录", "nothing to send"),
    "present": ("已签到", "signed in"),
    "missing": ("未签到", "nobody signed in"),
    "passed": ("比对通过", "passed"),
    "failed": ("比对未通过", "failed"),
    "not_verified": ("未能比对", "not verified"),
}
#: States of a record, as a line of the screen.
QUEUE = {
    "waiting": ("未送达", "waiting"),
    "ready": ("待传", "ready"),
    "sending": ("传输中", "sending"),
    "held": ("待补全", "held"),
    "parked": ("被拒", "parked"),
    "quarantined": ("无法读取", "unreadable"),
    "given_up": ("已放弃", "given up"),
    "superseded": ("已由更正记录取代", "superseded"),
    "moved": ("已移交另一台主机", "moved"),
    "delivered": ("已送达", "delivered"),
    "accepted": ("合计", "accepted"),
    "difference": ("差额", "off by"),
}
#: By what two machines, or a machine and its backup, are held side by side.
MARKS = {
    "version": ("版本", "version"),
    "config_hash": ("配置摘要", "configuration"),
    "kek": ("密钥编号", "key"),
}
#: Of one woman, and long said: after so many seconds they tell nothing of how things are.
SAID_ONCE, SAID_FOR_S = {"I3001", "I3002"}, 60.0
#: Rare: shown where there are any.
RARE = {"superseded", "moved"}


def register(group: click.Group) -> None:
    """Add the verb of this file."""
    group.add_command(status)


@click.command(cls=Verb)
@click.option("--nagios", is_flag=True, help="Nagios 插件格式，退出码 0/1/2/3 / as a Nagios plugin")
@json_option
@pass_settings
def status(settings: Settings, nagios: bool, as_json: bool) -> None:
    """现在怎么样 / how things are, problems first."""
    now = SystemClock().now()
    report, checked = _asked(settings) or _looked(settings)
    found = problems(report, now)
    if nagios:
        text, exit_status = ops.nagios(report, found, now, settings.language)
        click.echo(text)
        raise click.exceptions.Exit(exit_status)
    if as_json:
        listed = [problem.as_json(settings.language) for problem in found]
        wrong = checked.findings.get(settings.language)
        print_json({**report, "problems": listed, **({"findings": wrong} if wrong else {})})
    else:
        _show(settings, report, found, now)
        for line in checked.lines.get(settings.language, ()):
            click.echo(line)
    if checked.broken:
        raise click.exceptions.Exit(CONFIG_WRONG)


def _asked(settings: Settings) -> tuple[dict[str, Any], Checked] | None:
    """Return what the daemon says of itself, None when none is there to be asked."""
    try:
        found = settings.daemon()
    except AgentError as error:
        return {"daemon": True, "error": _told(error)}, Checked()
    if found is None:
        return None
    state_dir, said = found
    return {**said, "machine": host.look(state_dir)}, Checked()


def _looked(settings: Settings) -> tuple[dict[str, Any], Checked]:
    """Return how things are without a daemon, and what is wrong with the configuration.

    To check the file takes longer than all the rest: one that is neither what the last daemon ran nor what
    was checked last, by whatever command, is said to be unchecked. Of one that does not even say where the
    state is only that can be told.
    """
    state_dir = settings.state_dir()
    if state_dir is None:
        return _nowhere(settings)
    last, digest = lastrun.read(state_dir), lastrun.digest(settings.config_path)
    if last is not None and last.config_digest == digest:
        checked = Checked(last.config_hash, last.max_bytes)
    else:
        checked = lastcheck.read(state_dir, settings.config_path, digest) or _unknown(
            settings, state_dir, digest, last
        )
    report = down.report(state_dir, checked.max_bytes, checked.config_hash)
    if checked.wrong is not None:
        report["wrong"] = dict(checked.wrong)
    return report, checked


def _unknown(settings: Settings, state_dir: Path, digest: str, last: LastRun | None) -> Checked:
    """Return what is to be said of a file that nobody has checked.

    Where a check could not be noted - no daemon has made the state directory yet, or it is closed to whoever
    asks - it would be called unchecked for ever, and where there is nothing to read, reading it is quick.
    What is no YAML is known to be wrong, and wants its mistakes named.
    """
    if digest and not settings.garbled and os.access(state_dir, os.W_OK | os.X_OK, effective_ids=True):
        return lastcheck.unchecked(room.QUOTA_BYTES if last is None else last.max_bytes)
    from agent.ops.judged import judge

    return judge(settings.config_path, state_dir)


def _told(error: CodedError) -> dict[str, Any]:
    return {"code": error.code, "facts": dict(error.facts)}


def _nowhere(settings: Settings) -> tuple[dict[str, Any], Checked]:
    """Return what can be told where the configuration does not even say where the state is.

    A daemon may run all the same: whether one does is not known.
    """
    from agent.ops.judged import judge

    checked = judge(settings.config_path)
    if checked.wrong is None:
        raise AgentError("E8206", path=settings.config_path)
    return {"daemon": None, "down": [{"code": "W8620", "facts": {}}], "wrong": dict(checked.wrong)}, checked


def _show(settings: Settings, report: Mapping[str, Any], found: list[Problem], now: datetime) -> None:
    lang, zh = settings.language, settings.language == "zh"
    for problem in found:
        said = entry(problem.code)
        mark = "✗" if problem.severity == "error" else "!"
        click.echo(f"{mark} {problem.title(lang)} ({WHO[said.who][0 if zh else 1]})")
        for step in said.steps(lang, problem.facts)[:1]:
            click.echo(f"    {step}")
    if not found:
        settings.say("一切正常", "all is well")
    topics = report.get("topics", {})
    for name, label in TOPICS.items():
        if name in topics:
            click.echo(f"  {settings.words(label)}: {_state(topics[name], report, settings, now)}")
    queue = report.get("queue")
    if queue is None:
        return
    counts = "  ".join(
        f"{names[0 if zh else 1]} {queue[key]}"
        for key, names in QUEUE.items()
        if queue[key] or key not in RARE
    )
    click.echo(counts)
    success, hours = shown(queue["last_success"]), oldest_h(queue, now)
    used, limit = (f"{queue[key] / 2**20:.0f} MiB" for key in ("bytes", "limit"))
    waited = ("", "")
    if queue["oldest_waiting"] is not None:
        waited = (f"最早的未送达记录已等待 {hours:.1f} 小时；", f"oldest waiting {hours:.1f} h; ")
    settings.say(
        f"最近一次送达 {success}；{waited[0]}队列 {used} / {limit}",
        f"last delivery {success}; {waited[1]}queue {used} of {limit}",
    )
    marks = {settings.words(names): report[key] for key, names in MARKS.items() if report.get(key)}
    click.echo("  ".join(f"{name} {value}" for name, value in marks.items()))


def _state(state: Mapping[str, Any], report: Mapping[str, Any], settings: Settings, now: datetime) -> str:
    """Return a topic's state and, where it has a code, its sentence."""
    code, lang = str(state.get("code") or ""), settings.language
    since = datetime.fromisoformat(state["since"]) if state.get("since") else now
    over = code in SAID_ONCE and (now - since).total_seconds() > SAID_FOR_S
    known = code in entries() and not over
    text = entry(code).title(lang, report.get("told", {}).get(code)) if known else ""
    again, failed = state.get("next_try"), state.get("failed_at")
    # A moment that has passed is no next one: the platform is being asked now, or nothing is to be sent.
    if again and datetime.fromisoformat(again) > now:
        text += f"，下次尝试 {shown(again)}" if lang == "zh" else f", next try {shown(again)}"
    if state.get("failed_with"):  # an earlier version kept no time with it
        zh, en = f"上一次 {shown(failed)} 失败", f"the last time, {shown(failed)}, failed"
        text = f"{zh if lang == 'zh' else en} [{state['failed_with']}]"
    said = str(state.get("state") or state.get("result") or "")
    word = settings.words(STATES.get(said, (said, said)))
    # "ready: ready for the next card" says one thing twice.
    return text if word and text.startswith(word) else f"{word} {text}".strip()
