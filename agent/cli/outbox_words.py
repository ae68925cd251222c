"""What `outbox` says, in Chinese and English: names, states, reasons, values. Only `--json` shows keys."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from datetime import datetime

from agent.catalogue import entry
from agent.words import said

Words = tuple[str, str]  # zh, en

#: What may be corrected by hand, by its name in the platform's table 4.2, and how it is typed.
FIELDS: Mapping[str, Words] = {
    "operationUser": ("操作人，最多 10 个字", "operator, 10 characters at most"),
    "sexCode": ("性别：1 男，2 女", "sex: 1 male, 2 female"),
    "nationalCode": ("民族：01 至 56，或民族名称", "nation: 01 to 56, or its name"),
    "address": ("住址，最多 100 个字", "address, 100 characters at most"),
    "police": ("签发机关，最多 100 个字", "issuing authority, 100 characters at most"),
    "cardStartDate": ("有效期起始：2024-06-01 或 20240601", "valid from: 2024-06-01 or 20240601"),
    "cardEndDate": ("有效期截止：同上，或 长期", "valid until: the same, or 长期"),
}
#: A record's state; a discarded one's by why nobody here goes on with it.
STATES: Mapping[str, Words] = {
    "ready": ("待传", "ready"),
    "sending": ("传输中", "sending"),
    "held": ("待补全", "held"),
    "parked": ("被拒", "parked"),
    "delivered": ("已送达", "delivered"),
    "quarantined": ("无法读取", "unreadable"),
    "discarded": ("不再上传", "discarded"),
    "given_up": ("已放弃", "given up"),
    "superseded": ("已由更正记录取代", "superseded"),
    "moved": ("已移交另一台主机", "moved"),
}
NAMES: Mapping[str, Words] = {
    **STATES,
    # stats
    "waiting": ("未送达", "waiting"),
    "accepted": ("合计", "accepted"),
    "difference": ("账目差额（应为 0）", "difference (must be 0)"),
    "bytes": ("占用", "bytes"),
    "limit": ("上限（outbox.max_bytes）", "limit (outbox.max_bytes)"),
    "free": ("磁盘剩余", "free on the disk"),
    "ballast": ("应急空间完好", "ballast stands"),
    "oldest_waiting": ("最早未送达", "oldest waiting"),
    "last_success": ("最近送达", "last delivery"),
    "lost_keys": ("丢失的密钥", "lost keys"),
    "copied": ("来自另一台主机的副本", "copy from another machine"),
    "followups": ("待跟进事项", "open follow-ups"),
    # list, show, find
    "id": ("编号", "id"),
    "state": ("状态", "state"),
    "attempts": ("上传次数", "attempts"),
    "created_at": ("保存时间", "created"),
    "next_attempt_at": ("下次上传", "next"),
    "unknown": ("上次结果未知", "last answer unknown"),
    "last_code": ("代码", "code"),
    "last_detail": ("平台所述", "detail"),
    "holds": ("缺少", "lacks"),
    "size": ("大小", "size"),
    "finished_at": ("结束时间", "finished"),
    "supersedes": ("更正自", "supersedes"),
    "superseded_by": ("更正为", "superseded by"),
    "exported_at": ("导出时间", "exported"),
    "closed_by": ("经办人", "closed by"),
    "closed_why": ("原因", "why"),
    "name": ("姓名", "name"),
    "number": ("证件号", "number"),
    "result": ("比对结果", "result"),
    "verified_at": ("核验时间", "verified"),
    "delivered_at": ("送达时间", "delivered at"),
    "request_id": ("请求号", "request id"),
    "code": ("代码", "code"),
    "exception_code": ("平台异常码", "exception code"),
    "attempt": ("第几次", "attempt"),
    "at": ("时间", "at"),
    "conventions": ("约定", "conventions"),
    "sm3": ("报文 SM3", "SM3"),
    "length": ("字节", "bytes"),
    "outcome": ("结果", "outcome"),
}
HOLDS: Mapping[str, Words] = {
    "operator": ("操作人", "operator"),
    "card_picture": ("证件照片", "card picture"),
    "nation": ("民族", "nation"),
    "address": ("住址", "address"),
    "issuer": ("签发机关", "issuing authority"),
    "clock": ("可信的时间", "a trusted time"),
    "field": ("字段不合要求", "field"),
    "device": ("设备已停用", "device out of service"),
}
#: Values that are words, by the key under which they stand.
VALUES: Mapping[str, Mapping[str, Words]] = {
    "state": STATES,
    "result": {
        "passed": ("通过", "passed"),
        "failed": ("不通过", "failed"),
        "not_verified": ("未比对", "not verified"),
    },
    "outcome": {
        **STATES,
        "later": ("稍后再传", "later"),
        "unknown": ("没有得到应答", "answer unknown"),
        "interrupted": ("中断", "interrupted"),
    },
}
SIZES = {"bytes", "limit", "free", "size"}
#: When a record goes of which no moment is known.
AWAITS_PLATFORM: Words = ("待平台恢复", "when the platform is back")
AS_ITS_TURN_COMES: Words = ("排队中", "as its turn comes")
YES, NO = ("是", "yes"), ("否", "no")


def fields_help() -> str:
    """Return the fields that `amend` takes, for its help in both languages."""
    lines = [f"  {name:<14} {zh} / {en}" for name, (zh, en) in FIELDS.items()]
    return "\n".join(["\b", "可更正的字段 / fields:", *lines])


def states_help() -> str:
    """Return what the states that `list` takes mean, for its help in both languages."""
    return f"只看某一状态：{'，'.join(f'{key} {zh}' for key, (zh, _) in STATES.items())} / only this state"


def asked(field: str) -> Words:
    """Return how a field's value is asked for: what it is, and how it is typed."""
    zh, en = FIELDS[field]
    return f"{field}（{zh}）", f"{field} ({en})"


def name(key: str, lang: str) -> str:
    """Return what a key is called; a key that nobody has put into words as it is."""
    return _of(NAMES.get(key, (key, key)), lang)


def names(keys: Iterable[str], lang: str) -> list[str]:
    """Return what keys are called."""
    return [name(key, lang) for key in keys]


def state(row: Mapping[str, object], lang: str) -> str:
    """Return the word for a record's state."""
    return str(value("state", row.get("closed_as") or row["state"], lang))


def code(row: Mapping[str, object], lang: str) -> str | None:
    """Return a record's last code with what it means, where nothing else is needed to say it."""
    if not row["last_code"]:
        return None
    given = str(row["last_code"])
    title = entry(given).title(
        lang, {"record": str(row["id"]), "detail": told(str(row["last_detail"]), lang)}
    )
    return given if "?" in title else f"{given} {title}"


def value(key: str, given: object, lang: str) -> object:
    """Return a value as people read it."""
    if isinstance(given, bool):
        return _of(YES if given else NO, lang)
    if key in SIZES and isinstance(given, int):
        return size(given)
    if isinstance(given, Mapping):
        return "; ".join(lacking(hold, str(what), lang) for hold, what in given.items()) or None
    if key == "last_detail" and given:
        return told(str(given), lang)
    if isinstance(given, str) and given in VALUES.get(key, {}):
        return _of(VALUES[key][given], lang)
    return given


def next_upload(
    row: Mapping[str, object], platform: Mapping[str, object], now: datetime, lang: str
) -> object:
    """Return when a record goes: not before the platform is tried again, and at no moment that has passed."""
    if row["state"] != "ready":
        return row["next_attempt_at"]
    named = [str(at) for at in (row["next_attempt_at"], platform["next_try"]) if at]
    to_come = [at for at in named if datetime.fromisoformat(at) > now]
    if to_come:
        return max(to_come, key=datetime.fromisoformat)
    return _of(AWAITS_PLATFORM if platform["waiting_for"] else AS_ITS_TURN_COMES, lang)


def size(number: int) -> str:
    """Return a number of bytes as people read it."""
    for power, unit in enumerate(("B", "KiB", "MiB")):
        if number < 1024 ** (power + 1):
            return f"{number / 1024**power:.{min(power, 1)}f} {unit}"
    return f"{number / 1024**3:.1f} GiB"


def lacking(hold: str, what: str, lang: str) -> str:
    """Return what a record lacks, and the reason that was kept with it."""
    words, reason = _of(HOLDS.get(hold, (hold, hold)), lang), told(what, lang)
    if reason.startswith(words):
        return reason  # the platform's name of the field says it already
    return f"{words}（{reason}）" if lang == "zh" else f"{words} ({reason})"


def told(sentence: str, lang: str) -> str:
    """Return a sentence that a record keeps, in another language; what nobody knows stays as it is."""
    if lang != "zh":
        return sentence
    return "；".join(_retold(part) for part in re.split("; ", sentence))


def _retold(part: str) -> str:
    from agent.hmpt import checks  # for what records lack, alone

    for code in checks.CODES:
        told_as = entry(code)
        if match := re.fullmatch(_pattern(told_as.texts["en"].title), part):
            return told_as.title("zh", match.groupdict())
    return said(part, "zh")


def _pattern(title: str) -> str:
    """Return what finds the facts again in a sentence that was made from a title."""
    parts = string.Formatter().parse(title)
    return "".join(re.escape(text) + (f"(?P<{fact}>.+)" if fact else "") for text, fact, _, _ in parts)


def facts(given: Mapping[str, str], lang: str) -> dict[str, str]:
    """Return an error's facts with states as people read them: `parked/held` as 被拒、待补全."""
    return {key: _states(one, lang) if key in {"state", "allowed"} else one for key, one in given.items()}


def _states(given: str, lang: str) -> str:
    parts = given.split("/")
    if not set(parts) <= set(STATES):
        return given
    return ("、" if lang == "zh" else "/").join(_of(STATES[part], lang) for part in parts)


def _of(words: Words, lang: str) -> str:
    return words[0 if lang == "zh" else 1]
