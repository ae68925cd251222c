"""`probe`: find out how this site's platform wants to be spoken to, with the device's own data alone.

The search itself is `agent.hmpt.probing`; here it is driven, told and brought to an end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click
import yaml

from agent.catalogue import AgentError, describe
from agent.cli import probe_words as words
from agent.cli.asking import Unchanged, agreed
from agent.cli.options import Settings, Verb, json_option, pass_settings
from agent.cli.screen import complain, device_lines, print_json
from agent.cli.speech import misused
from agent.clock import SystemClock
from agent.config import Config
from agent.config.rules import is_loopback
from agent.control.ask import ask_installed
from agent.hmpt.allotted import identity
from agent.hmpt.asking import Asker
from agent.hmpt.likelihood import Guess
from agent.hmpt.probing import MAX_REQUESTS, Cause, Conclusion, Search, Try, Why
from agent.hmpt.readings import Reading, Stage
from agent.inservice import ENABLED
from agent.ops.access import as_owner_of
from agent.words import said

#: A platform in the province is not asked faster than this.
LEAST_S = 1.0
UNAVAILABLE = 69
#: Guesses that a dry run lists.
SHOWN = 12


def register(group: click.Group) -> None:
    """Add the verb of this file."""
    group.add_command(probe)


@click.command(cls=Verb)
@click.option("--dry-run", is_flag=True, help="只显示将要发送的内容 / only show what would be sent")
@click.option("--yes", is_flag=True, help="不再询问 / do not ask")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0),
    default=LEAST_S,
    show_default=True,
    help="两次请求间隔（秒） / seconds between requests; less than 1 on loopback only",
)
@click.option(
    "--max-requests",
    type=click.IntRange(1, MAX_REQUESTS),
    default=MAX_REQUESTS,
    show_default=True,
    help="最多请求次数 / requests at the most",
)
@json_option
@pass_settings
def probe(
    settings: Settings, dry_run: bool, yes: bool, interval_s: float, max_requests: int, as_json: bool
) -> None:
    """探明平台的约定 / find the platform's conventions, with /machine/info alone: no personal data."""
    config = settings.config()
    if interval_s < LEAST_S and not is_loopback(config.platform.base_url):
        raise misused(f"at least {LEAST_S:g}", option="--interval")
    with _asker(config) as asker:
        session = Session(settings, config, asker, quiet=as_json)
        search = asker.search(max_requests)
        session.show_plan(search, interval_s)
        if dry_run:
            session.show_dry_run(search)
            return
        if not yes:
            session.confirm()
        try:
            end = session.drive(search, interval_s)
        except BaseException:
            session.write_down("interrupted")
            raise
        session.write_down("found" if end.cause is None else end.cause.value)
        session.finish(end, as_json=as_json)


def _elided(name: str, value: str) -> str:
    """Return a header as it may be shown: of ticket and signature only how long they are."""
    kept = {"hmpt-portal-sign": 6, "Authorization": 0}.get(name)
    return value if kept is None else f"{value[:kept]}… ({len(value)})"


def _known(config: Config) -> tuple[int, bool]:
    """Return what /machine/info has to say of the device, and whether this platform ever signed an answer.

    Enabled, unless somebody took it out of service.
    """
    try:
        known = ask_installed(config, "register.state") or {}
    except AgentError:
        known = {}  # what stands in the way of the outbox does not stand in the way of a probe
    return int(known.get("status", ENABLED)), bool(known.get("answers_signed"))


@contextmanager
def _asker(config: Config) -> Iterator[Asker]:
    """Yield what makes the requests, with the secrets read as the daemon reads them."""
    status, signed = _known(config)
    try:
        who = identity(config)
    except AgentError as error:
        if error.code != "E7202":
            raise
        # Root asks, and the file is the service user's own: fit for the daemon, and so for us.
        with as_owner_of(Path(config.state_dir)):
            who = identity(config)
    asker = Asker(config, who, SystemClock(), status, signed_before=signed)
    try:
        yield asker
    finally:
        asker.close()


@dataclass
class Session:
    """One run of the command: what was asked and answered, told as it happens. JSON leaves stdout alone."""

    settings: Settings
    config: Config
    asker: Asker
    quiet: bool
    steps: list[tuple[Try, Reading]] = field(default_factory=list)

    # --- before ---------------------------------------------------------------------------------------

    def show_plan(self, search: Search, interval_s: float) -> None:
        """Show what will be said to whom, letter for letter: a registration cannot be undone."""
        platform = self.config.platform
        self._say(
            "以 /machine/info 试探平台的约定。只发送以下设备信息，不含任何个人信息：",
            "Probing by /machine/info. Only these values of the device are sent, no personal data:",
        )
        for line in device_lines(self.config.device, self.settings.language, self.asker.status):
            click.echo(line, err=self.quiet)
        zh, en = (f"（代理 {platform.proxy}）", f" (proxy {platform.proxy})") if platform.proxy else ("", "")
        self._say(
            f"平台 {platform.base_url}{zh}；机构 {platform.org_app_id}",
            f"platform {platform.base_url}{en}; organisation {platform.org_app_id}",
        )
        self._say(
            f"最多 {search.limit} 次请求，间隔 {interval_s:g} 秒",
            f"at most {search.limit} requests, {interval_s:g} s apart",
        )
        self._say(
            "第一次被读懂时，平台会登记这台设备；登记后不能撤销，也不能修改。已登记过则无变化（B2301）。",
            "The first request that is understood registers the device. That cannot be undone or changed. "
            "If it is registered already nothing changes (B2301).",
        )

    def confirm(self) -> None:
        """Ask a person. Unchanged when the answer is no, AgentError E8314 where nobody can answer."""
        try:
            agreed(
                self.settings,
                "以上各值与管理员录入的逐字一致，继续吗？",
                "Are these values, letter for letter, what the administrator entered? Go on?",
            )
        except Unchanged:
            self._say("没有发送任何请求。", "Nothing was sent.")
            raise

    def show_dry_run(self, search: Search) -> None:
        """Show the first request without ticket and signature, and what would follow if it were refused."""
        first = search.step()
        if not isinstance(first, Try):
            return
        ranked = list(islice(search.ranked(SHOWN), SHOWN))
        request = self.asker.request(first)
        self._say("将首先发送：", "First:")
        click.echo(f"  POST {self.config.platform.base_url.rstrip('/')}/machine/info", err=self.quiet)
        headers = {name: _elided(name, value) for name, value in request.headers.items()}
        for name, value in headers.items():
            click.echo(f"  {name}: {value}", err=self.quiet)
        self._say(
            f"  报文 {request.body.length} 字节（明文 {request.plain_length} 字节）",
            f"  body of {request.body.length} bytes ({request.plain_length} in plain)",
        )
        self._say("若无理由地被拒，依次改为：", "Refused without a reason, it would go on with:")
        before = first.guess
        for number, guess in enumerate(ranked[1:], start=2):
            click.echo(f"  {number:>2}  {words.differences(guess, before)}", err=self.quiet)
        self._say("没有发送任何请求。", "Nothing was sent.")
        if self.quiet:
            sent = {
                "url": f"{self.config.platform.base_url.rstrip('/')}/machine/info",
                "headers": headers,
                "bytes": request.body.length,
                "plain_bytes": request.plain_length,
            }
            planned = [{"number": number, **asdict(guess)} for number, guess in enumerate(ranked, start=1)]
            print_json({"request": sent, "planned": planned})

    # --- meanwhile ------------------------------------------------------------------------------------

    def drive(self, search: Search, interval_s: float) -> Conclusion:
        """Make the search's requests one after the other until it ends."""
        try:
            while not isinstance(following := search.step(), Conclusion):
                if self.steps:
                    time.sleep(interval_s)  # a command of one thread; Ctrl-C interrupts it
                self._show_try(following)
                reading = self.asker.ask(following)
                # Counted before it is shown: whoever interrupts goes by what the screen says.
                self.steps.append((following, reading))
                self._show_answer(reading)
                search = search.after(following, reading)
        except KeyboardInterrupt:
            self._say(
                f"\n已中断：问了 {len(self.steps)} 次。设备可能已登记；再次运行无害（B2301 同样算数）。",
                f"\ninterrupted after {len(self.steps)} requests. The device may be registered by now; "
                "running this again does no harm (B2301 counts as well).",
            )
            raise click.Abort from None
        return following

    def _show_try(self, attempt: Try) -> None:
        before = self.steps[-1][0].guess if self.steps else None
        why = words.WHY[attempt.why][self._column]
        what = words.differences(attempt.guess, before)
        shown = attempt.why in {Why.CONFIGURED, Why.LIKELIEST, Why.PADDING}
        click.echo(f"{len(self.steps) + 1:>3}  {why}", err=self.quiet)
        if shown and what:
            click.echo(f"     {what}", err=self.quiet)

    def _show_answer(self, reading: Reading) -> None:
        click.echo(f"     → {said(reading.shown, self.settings.language)}", err=self.quiet)
        click.echo(f"       {words.means(self.steps[-1][0], reading)[self._column]}", err=self.quiet)

    def write_down(self, result: str) -> None:
        """Put what was asked into the audit trail of this installation, where there is one."""
        if not self.steps:
            return
        done = [reading for _, reading in self.steps if reading.stage is Stage.DONE]
        told = {
            "result": result,
            "requests": len(self.steps),
            "registered": ("already" if done[0].already else "yes") if done else "no",
            "status": self.asker.status,
        }
        try:
            ask_installed(self.config, "probe.note", told)
        except AgentError as error:
            complain(error, self.settings.language)

    # --- afterwards -----------------------------------------------------------------------------------

    def finish(self, end: Conclusion, *, as_json: bool) -> None:
        """Tell the result. Exit status 69, with the cause told, when nothing usable was found."""
        found = end.cause is None
        if as_json:
            print_json(self._as_json(end))
        elif end.guess is not None and end.reading is not None:
            self._show_found(end, end.guess, end.reading)
        if not found:
            self._complain(end)
            raise SystemExit(UNAVAILABLE)

    def _show_found(self, end: Conclusion, guess: Guess, reading: Reading) -> None:
        if end.cause is None:
            count = len(self.steps)
            self._say(
                f"\n找到了，共 {count} 次请求。依据：", f"\nFound, by {count} requests. Why this is sure:"
            )
            for proof in words.proofs(reading, already=self._known_before()):
                click.echo(f"  - {proof[self._column]}")
            self._say(
                "\n并入配置文件中已有的 platform: 之下（代替其中同名的项，保留其余各项）：\n",
                "\nPut below the platform: that is there (instead of the same keys; leave the rest):\n",
            )
        else:
            self._say(
                "\n平台读懂的约定（还不能用，见下）：\n",
                "\nWhat the platform understood (of no use yet, see below):\n",
            )
        click.echo(self._yaml(end, guess))
        if end.cause is None:
            # What waits follows new conventions at a reload; whether it is encrypted at all, at a restart.
            switched = guess.encrypt != self.config.platform.encrypt
            then = "systemctl restart kiosk-agent" if switched else "kiosk-agent reload"
            self._say(
                f"然后运行 kiosk-agent check 和 {then}。排队的记录将按新约定发出。",
                f"Then run kiosk-agent check and {then}. What waits goes out by these.",
            )
        if self.config.platform.encrypt and not guess.encrypt:
            self._say(
                "注意：platform.encrypt 将改为 false。关闭加密前须有卫健委的书面同意：记录含个人信息。",
                "Note: platform.encrypt goes from true to false. Switch encryption off only if the "
                "health commission says so in writing: records are personal data.",
            )

    def _yaml(self, end: Conclusion, guess: Guess) -> str:
        values = {"encrypt": guess.encrypt, "conventions": self._proven(end, guess)}
        return yaml.safe_dump({"platform": values}, allow_unicode=True, sort_keys=False).rstrip() + "\n"

    def _proven(self, end: Conclusion, guess: Guess) -> dict[str, Any]:
        """Return the keys of the configuration that the probe has settled."""
        conventions = self._conventions(end, guess)
        names = [name for name in asdict(guess) if name != "encrypt"]
        if guess.encrypt:
            names.remove("body_shape")
        else:
            names = [name for name in names if name not in {"sm4_key", "padding", "cipher_encoding"}]
        names += [name for name in self._settled(end) if name not in names]
        return {name: conventions[name] for name in names}

    def _conventions(self, end: Conclusion, guess: Guess) -> dict[str, Any]:
        found = guess.conventions(self.config.platform.conventions).model_dump(by_alias=True, mode="json")
        return {**found, **self._settled(end)}

    @staticmethod
    def _settled(end: Conclusion) -> dict[str, str]:
        """Return the knobs of answers that an answer settled: one that is signed, or encrypted."""
        reading = end.reading
        if reading is None or (reading.signed is None and reading.opened_by is None):
            return {}
        return dict(reading.settled)

    def _as_json(self, end: Conclusion) -> dict[str, Any]:
        guess, reading = end.guess, end.reading
        return {
            "found": end.cause is None,
            "conventions": {} if guess is None else self._conventions(end, guess),
            "encrypt": None if guess is None else guess.encrypt,
            "cause": None if end.cause is None else end.cause.value,
            "code": None if end.cause is None else words.code(end.cause, reading),
            "requests": len(self.steps),
            "already_registered": self._known_before(),
            "skew_s": None if reading is None or reading.skew_s is None else round(reading.skew_s, 1) + 0.0,
            "steps": [
                {"why": attempt.why.value, "stage": said.stage.value, "answer": said.shown}
                for attempt, said in self.steps
            ],
        }

    def _complain(self, end: Conclusion) -> None:
        """Tell the cause, and what to do about it: a probe has stopped, and no record goes again."""
        failure, stopped = self._failure(end), None if end.cause is None else words.STOPPED.get(end.cause)
        if stopped is None or failure.code == "E5008":
            complain(failure, self.settings.language)
        else:
            click.echo(describe(failure, self.settings.language), err=True)
            click.echo(f"  1. {stopped[self._column]}", err=True)

    def _failure(self, end: Conclusion) -> AgentError:
        cause = end.cause or Cause.NOTHING_FITS
        reading = end.reading
        told = words.detail(cause, reading)
        return AgentError(words.code(cause, reading), detail=told, skew=self._skew())

    def _known_before(self) -> bool:
        """Return whether the device was known before this probe, by the first answer that understood."""
        accepted = (reading for _, reading in self.steps if reading.stage is Stage.DONE)
        first = next(accepted, None)
        return first is not None and first.already

    def _skew(self) -> str:
        seen = [reading.skew_s for _, reading in self.steps if reading.skew_s is not None]
        return f"{round(seen[-1]):+d}" if seen else "?"

    @property
    def _column(self) -> int:
        return 0 if self.settings.language == "zh" else 1

    def _say(self, zh: str, en: str) -> None:
        click.echo((zh, en)[self._column], err=self.quiet)
