"""`simulate reader`, `simulate platform`: the other ends of both lines, to rehearse against."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from agent.cli.options import Settings, VerbGroup, pass_settings
from agent.cli.speech import misused

#: Two card holders in turn: the camera of a rehearsal shows one of them, so both verdicts occur.
DEFAULT_PORTRAITS = ("collins", "hopper")


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    group.add_command(simulate)


@click.group(cls=VerbGroup)
def simulate() -> None:
    """模拟读卡器与平台 / simulated reader and platform; made-up data only."""


@simulate.command()
@click.option(
    "--port-link",
    type=click.Path(path_type=Path),
    required=True,
    help="指向虚拟串口的链接 / symlink to the pty",
)
@click.option(
    "--cards",
    type=click.IntRange(1, 100000),
    default=1,
    show_default=True,
    help="生成几张卡 / how many cards to generate",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--kinds",
    default="R",
    show_default=True,
    help="证件种类，依次生成 / kinds of card, in turn: R J I Y, such as RRJY",
)
@click.option(
    "--baud",
    type=click.Choice(["9600", "19200", "38400", "57600", "115200"]),
    default="115200",
    show_default=True,
)
@click.option("--cards-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None)
@click.option(
    "--loop",
    "loop_s",
    type=click.FloatRange(min=0.2),
    default=None,
    help="每隔几秒放下一张卡 / lay the next card every SECONDS",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME=VALUE",
    help="每个应答出错的概率 0 至 1；写错时列出全部 / how likely at each reply; a wrong name lists them all",
)
@pass_settings
def reader(
    settings: Settings,
    port_link: Path,
    *,
    cards: int,
    seed: int,
    kinds: str,
    baud: str,
    cards_file: Path | None,
    loop_s: float | None,
    faults: tuple[str, ...],
) -> None:
    """在虚拟串口上模拟读卡器 / serve the reader's protocol on a pty until interrupted."""
    from agent.simulate import portraits
    from drivers.simulator import cards as deck
    from drivers.simulator.reader import SimulatedReader, parse_faults

    with _usage():
        chosen = parse_faults(faults)
        laid = deck.load(cards_file) if cards_file else deck.generate(seed, cards, kinds)
    pictures = [portraits.path(name) for name in DEFAULT_PORTRAITS]
    with (
        _until_signalled() as done,
        SimulatedReader(laid, pictures, loop_s, chosen, int(baud)) as simulated,
    ):
        simulated.link(port_link)
        settings.say(
            f"模拟读卡器：{port_link}（{len(laid)} 张卡）",
            f"simulated reader: {port_link} ({len(laid)} cards)",
        )
        if loop_s is None:
            simulated.place(laid[0])
        done.wait()


@simulate.command()
@click.option("--port", type=click.IntRange(0, 65535), required=True)
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="每接收一条记录写一行 / one line per accepted record",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME=VALUE",
    help="每 N 个请求一次，写错时列出全部：lost-answer … / every Nth request; a wrong name lists them all",
)
@click.option(
    "--manner",
    type=click.Choice(("likely", "strict", "lenient")),
    default="likely",
    show_default=True,
    help="从哪种平台出发 / which platform to start from",
)
@click.option(
    "--dialect",
    "knobs",
    multiple=True,
    metavar="NAME=VALUE",
    help="文档未定之处 / what the document leaves open: sign-encoding=base64 ...",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="MACHINE_CODE:DEVICE_NO",
    help="管理员已录入的设备 / a device that the administrator entered by hand",
)
@click.option(
    "--device-off",
    "disabled",
    multiple=True,
    metavar="MACHINE_CODE:DEVICE_NO",
    help="管理员已停用的设备 / a device that the administrator disabled",
)
@pass_settings
def platform(
    settings: Settings,
    port: int,
    ledger: Path,
    faults: tuple[str, ...],
    manner: str,
    knobs: tuple[str, ...],
    *,
    devices: tuple[str, ...],
    disabled: tuple[str, ...],
) -> None:
    """模拟平台：使用 --config 中的机构号与密钥 / simulate the platform with the secrets of --config."""
    from agent import keys
    from agent.simulate.dialect import MANNERS, parse_dialect
    from agent.simulate.platform import SimulatedPlatform, parse_faults

    config = settings.config().platform
    secret = keys.read_secret(config.org_app_secret, "platform.org_app_secret").decode()
    ticket = keys.read_secret(config.authorization, "platform.authorization").decode()
    with _usage(), _place():
        simulated = SimulatedPlatform(
            secret,
            config.org_app_id,
            ticket,
            ledger,
            port=port,
            dialect=parse_dialect(knobs, MANNERS[manner]),
            faults=parse_faults(faults),
        )
    with _until_signalled() as done, simulated:
        simulated.enter_by_hand(_device(text) for text in devices)
        simulated.enter_by_hand((_device(text) for text in disabled), enabled=False)
        settings.say(
            f"模拟平台：{simulated.url}，账本 {ledger}",
            f"simulated platform: {simulated.url}, ledger {ledger}",
        )
        done.wait()


def _device(text: str) -> tuple[str, str]:
    machine, _, number = text.rpartition(":")
    if not machine or not number:
        raise click.BadParameter(f"{text!r}: MACHINE_CODE:DEVICE_NO")
    return machine, number


@contextmanager
def _usage() -> Iterator[None]:
    """Tell a wrong option as one: status 2, not a traceback."""
    try:
        yield
    except ValueError as error:
        raise misused(str(error)) from None


@contextmanager
def _place() -> Iterator[None]:
    """Tell a port that is taken, or a ledger where nothing can be written, as a wrong option."""
    try:
        yield
    except OSError as error:
        option = "--port" if error.filename is None else "--ledger"
        raise misused(error.strerror or type(error).__name__, option) from None


@contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set."""
    done = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: done.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield done
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
