"""What a refusal is about, as far as its code and its words tell. Pure.

The document has no code for a bad signature, a stale time or an unknown device (P22, P23), so the words
are all there is. They decide how soon the right person hears the right sentence; whether a record is set
aside is never decided by words alone, but by who else is refused (`agent.uploader.judgement`).
"""

from __future__ import annotations

import re

from agent.records import About

ALREADY_REGISTERED = "B2301"

#: Codes inside a JSON answer that speak of the caller, not of the record.
_CALLERS = frozenset({"401", "403", "407"})

# Most specific first: 设备重复 is about the device. Field names such as verifyTime must not count as the
# time, nor 证件过期 as an expired request.
_WORDS: tuple[tuple[About, re.Pattern[str]], ...] = (
    (
        About.LANE,
        re.compile(
            r"签名|验签|时间戳|请求时间|请求(已)?(过期|超时)|机构(ID|编码|标识)?(不存在|无效|未|错误|异常)|票据|令牌|鉴权|认证失败"
            r"|解密|密文|未加密|密钥|\bsign(ature)?\b|timestamp|\btoken\b|app-?id|unauthori[sz]ed|decrypt",
            re.IGNORECASE,
        ),
    ),
    (About.DEVICE, re.compile(r"设备|终端|\bdevice\b|\bmachine\b", re.IGNORECASE)),
    (About.DUPLICATE, re.compile(r"重复|已存在|已上传|已提交|duplicate|already|repeated", re.IGNORECASE)),
    (
        About.SIZE,
        re.compile(r"报文过大|数据过大|图片过大|超过.{0,6}大小|too large|too long for column", re.IGNORECASE),
    ),
)


def about(code: str, exception: str | None, message: str) -> About:
    """Return what a refusal with code, exceptionCode and msg is about."""
    if exception == ALREADY_REGISTERED:
        return About.RECORD
    for found, words in _WORDS:
        if words.search(message):
            return found
    if code == "413":
        return About.SIZE
    return About.LANE if code in _CALLERS else About.RECORD


def inside(code: str, exception: str | None) -> bool:
    """Return whether an answer speaks of a fault of the platform's own: the record may have been taken.

    B... and C... are the system's and a third party's by the widespread scheme; a code without any
    exceptionCode says nothing, unless it is of HTTP's 400s.
    """
    if exception:
        return exception[:1] in {"B", "C"} and exception != ALREADY_REGISTERED
    return not re.fullmatch(r"4\d\d", code)
