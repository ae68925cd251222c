"""The field rules of tables 4.1 and 4.2, as the platform's document states them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

MAX_PICTURE_CHARS = 4 * 2**20  # 3M of JPEG, read generously: the document does not say 3M of what

SEX_NAMES = {"0": "未知", "1": "男", "2": "女", "9": "未说明"}
CARD_TYPES = {"0", "1", "2", "9"}
NATION_NAMES = [
    "汉族",
    "蒙古族",
    "回族",
    "藏族",
    "维吾尔族",
    "苗族",
    "彝族",
    "壮族",
    "布依族",
    "朝鲜族",
    "满族",
    "侗族",
    "瑶族",
    "白族",
    "土家族",
    "哈尼族",
    "哈萨克族",
    "傣族",
    "黎族",
    "傈僳族",
    "佤族",
    "畲族",
    "高山族",
    "拉祜族",
    "水族",
    "东乡族",
    "纳西族",
    "景颇族",
    "柯尔克孜族",
    "土族",
    "达斡尔族",
    "仫佬族",
    "羌族",
    "布朗族",
    "撒拉族",
    "毛南族",
    "仡佬族",
    "锡伯族",
    "阿昌族",
    "普米族",
    "塔吉克族",
    "怒族",
    "乌孜别克族",
    "俄罗斯族",
    "鄂温克族",
    "德昂族",
    "保安族",
    "裕固族",
    "京族",
    "塔塔尔族",
    "独龙族",
    "鄂伦春族",
    "赫哲族",
    "门巴族",
    "珞巴族",
    "基诺族",
]

Rule = Callable[[Any], bool]


def text(limit: int) -> Rule:
    """VARCHAR(limit), NOT NULL."""
    return lambda value: isinstance(value, str) and value.strip() != "" and len(value) <= limit


def day(value: Any) -> bool:
    """yyyy-MM-dd."""
    return _matches(value, "%Y-%m-%d", 10)


def second(value: Any) -> bool:
    """yyyy-MM-dd HH:mm:ss."""
    return _matches(value, "%Y-%m-%d %H:%M:%S", 19)


def _matches(value: Any, form: str, length: int) -> bool:
    if not isinstance(value, str) or len(value) != length:
        return False
    try:
        datetime.strptime(value, form)  # noqa: DTZ007 -- the document's times carry no zone
    except ValueError:
        return False
    return True


def score(value: Any) -> bool:
    """Decimal, 0..1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def jpeg(value: Any) -> bool:
    """base64 of a JPEG, one line, no data-URI."""
    if not isinstance(value, str) or len(value) > MAX_PICTURE_CHARS:
        return False
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        return False
    return raw.startswith(b"\xff\xd8\xff") and raw.endswith(b"\xff\xd9")


def whole(*allowed: int) -> Rule:
    """Int, one of these."""
    return lambda value: type(value) is int and value in allowed


def one_of(*allowed: str) -> Rule:
    """VARCHAR, one of these."""
    return lambda value: isinstance(value, str) and value in allowed


MACHINE: Mapping[str, Rule] = {
    "deptId": text(50),
    "deptName": text(50),
    "machineManufacturer": text(50),
    "machineMode": text(50),
    "purchaseTime": day,
    "machineCode": text(50),
    "deviceNo": text(50),
    "status": whole(0, 1),
    "registerUser": text(50),
}
VERIFICATION: Mapping[str, Rule] = {
    "realName": text(60),  # VARCHAR(10) in the table; chips carry up to 60, see R1
    "cardType": lambda value: isinstance(value, str) and value in CARD_TYPES,
    "cardNo": lambda value: isinstance(value, str) and re.fullmatch(r"[0-9A-Z]{8,18}", value) is not None,
    "sexCode": lambda value: isinstance(value, str) and value in SEX_NAMES,
    "sexName": text(3),
    "nationalCode": one_of(*(f"{number:02d}" for number in range(1, len(NATION_NAMES) + 1))),
    "nationalName": text(10),
    "operationUser": text(10),
    "birthday": day,
    "address": text(100),
    "police": text(100),
    "cardStartDate": day,
    "cardEndDate": lambda value: value == "-" or day(value),
    "headImg": jpeg,
    "cameraImg": jpeg,
    "faceScore": score,
    "faceResult": one_of("0", "1", "2"),
    "verifyDate": day,
    "verifyTime": second,
    "certTimeoutStatus": lambda value: type(value) is int,
    "deviceNo": text(50),
    "machineCode": text(50),
}
OPTIONAL: Mapping[str, Rule] = {
    "fingerCollectImg": jpeg,
    "fingerScore": score,
    "fingerResult": whole(0, 1, 2),
    "registerTime": text(40),
}


def faults(fields: Mapping[str, Any], table: Mapping[str, Rule]) -> list[str]:
    """Return the names of fields that break the table's rules."""
    found = [name for name, rule in table.items() if not rule(fields.get(name))]
    found += [
        name for name, rule in OPTIONAL.items() if fields.get(name) is not None and not rule(fields[name])
    ]
    found += [name for name in fields if name not in table and name not in OPTIONAL]
    if table is VERIFICATION and not found:
        found += _disagreements(fields)
    return found


def _disagreements(fields: Mapping[str, Any]) -> list[str]:
    """Return fields that are right alone and wrong together."""
    found = []
    if SEX_NAMES[fields["sexCode"]] != fields["sexName"]:
        found.append("sexName")
    if NATION_NAMES[int(fields["nationalCode"]) - 1] != fields["nationalName"]:
        found.append("nationalName")
    if not fields["verifyTime"].startswith(fields["verifyDate"]):
        found.append("verifyDate")
    return found
