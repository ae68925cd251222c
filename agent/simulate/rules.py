"""The field rules of tables 4.1 and 4.2, as the platform's document states them and a dialect reads them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from agent.simulate.dialect import LIKELY, Dialect

SEX_NAMES = {"0": "未知", "1": "男", "2": "女", "9": "未说明"}
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


def text(limit: int, length: Callable[[str], int] = len) -> Rule:
    """VARCHAR(limit), NOT NULL."""
    return lambda value: isinstance(value, str) and value.strip() != "" and length(value) <= limit


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


def score(decimals: int) -> Rule:
    """Decimal, 0..1, a JSON number with at most so many decimals and no exponent."""

    def rule(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return False
        number = value if isinstance(value, Decimal) else Decimal(str(value))
        exponent = number.as_tuple().exponent
        return 0 <= number <= 1 and isinstance(exponent, int) and -decimals <= exponent <= 0

    return rule


def jpeg(limit: int) -> Rule:
    """base64 of a JPEG in at most so many characters, one line, no data-URI."""

    def rule(value: Any) -> bool:
        if not isinstance(value, str) or len(value) > limit:
            return False
        try:
            raw = base64.b64decode(value, validate=True)
        except binascii.Error:
            return False
        return raw.startswith(b"\xff\xd8\xff") and raw.endswith(b"\xff\xd9")

    return rule


def whole(*allowed: int) -> Rule:
    """Int, one of these."""
    return lambda value: type(value) is int and value in allowed


def one_of(*allowed: str) -> Rule:
    """VARCHAR, one of these."""
    return lambda value: isinstance(value, str) and value in allowed


def either(*rules: Rule) -> Rule:
    """Return the rule that is met when one of these is."""
    return lambda value: any(rule(value) for rule in rules)


def _coded(dialect: Dialect, *codes: str) -> Rule:
    """VARCHAR(1) in the table, a bare number in the example."""
    table, example = one_of(*codes), whole(*(int(code) for code in codes))
    return {"table": table, "example": example, "any": either(table, example)}[dialect.types]


def _length(dialect: Dialect) -> Callable[[str], int]:
    encoding = {"utf8": "utf-8", "gbk": "gb18030"}.get(dialect.length_unit)
    return len if encoding is None else lambda value: len(value.encode(encoding, "replace"))


def _card_date(dialect: Dialect) -> Rule:
    return {"date": day, "datetime": second, "any": either(day, second)}[dialect.card_dates]


@lru_cache(maxsize=64)
def machine(dialect: Dialect = LIKELY) -> Mapping[str, Rule]:
    """Return table 4.1."""
    texts = ("deptId", "deptName", "machineManufacturer", "machineMode", "machineCode", "deviceNo")
    table: dict[str, Rule] = dict.fromkeys(texts, text(50, _length(dialect)))
    table |= {"purchaseTime": day, "status": whole(0, 1), "registerUser": text(50, _length(dialect))}
    if dialect.register_time == "required":
        table["registerTime"] = text(40)
    return table


@lru_cache(maxsize=64)
def verification(dialect: Dialect = LIKELY) -> Mapping[str, Rule]:
    """Return table 4.2."""
    length = _length(dialect)
    widths = [int(width) for width in (dialect.sex_width if dialect.sex_width != "any" else "12")]
    finger = _nullable(dialect)
    table: dict[str, Rule] = {
        "realName": text(dialect.name_limit, length),
        "cardType": _coded(dialect, *dialect.card_types),
        "cardNo": lambda value: isinstance(value, str) and re.fullmatch(r"[0-9A-Z]{8,18}", value) is not None,
        "sexCode": one_of(*(code.zfill(width) for code in SEX_NAMES for width in widths)),
        "sexName": text(3),
        "nationalCode": one_of(*(f"{number:02d}" for number in range(1, len(NATION_NAMES) + 1))),
        "nationalName": text(10, length),
        "operationUser": text(10, length),
        "birthday": day,
        "address": text(100, length),
        "police": text(100, length),
        "cardStartDate": _card_date(dialect),
        "cardEndDate": either(_card_date(dialect), one_of(dialect.permanent_date)),
        "headImg": jpeg(dialect.picture_limit),
        "cameraImg": jpeg(dialect.picture_limit),
        "faceScore": score(dialect.score_decimals),
        "faceResult": _coded(dialect, "0", "1", "2"),
        "verifyDate": day,
        "verifyTime": second,
        "certTimeoutStatus": lambda value: type(value) is int,
        "deviceNo": text(50, length),
        "machineCode": text(50, length),
    }
    return table | (finger if dialect.absent_finger == "null" else {})


def _nullable(dialect: Dialect) -> dict[str, Rule]:
    """Return the three optional fields, which may be null."""
    given = {
        "fingerCollectImg": jpeg(dialect.picture_limit),
        "fingerScore": score(dialect.score_decimals),
        "fingerResult": whole(0, 1, 2),
    }
    return {name: either(rule, lambda value: value is None) for name, rule in given.items()}


def _optional(table: Mapping[str, Rule], dialect: Dialect) -> dict[str, Rule]:
    if "realName" in table:
        return _nullable(dialect)
    return {} if dialect.register_time == "refused" else {"registerTime": text(40)}


def faults(found: Mapping[str, Any], table: Mapping[str, Rule], dialect: Dialect = LIKELY) -> list[str]:
    """Return the names of fields that break the table's rules."""
    wrong = [name for name, rule in table.items() if name not in found or not rule(found[name])]
    optional = _optional(table, dialect)
    wrong += [name for name in found if name in optional and not optional[name](found[name])]
    if dialect.unknown_fields == "refused":
        wrong += [name for name in found if name not in table and name not in optional]
    if dialect.absent_finger == "omit":
        wrong += [name for name, value in found.items() if name.startswith("finger") and value is None]
    wrong += [
        name for name, value in found.items() if isinstance(value, str) and not _storable(value, dialect)
    ]
    if "realName" in table and not wrong:
        wrong += _disagreements(found, dialect)
    return wrong


def _storable(value: str, dialect: Dialect) -> bool:
    if dialect.characters == "any":
        return True
    refused = "\U00010000-\U0010ffff" + ("\ue000-\uf8ff" if dialect.characters == "assigned" else "")
    return re.search(f"[{refused}]", value) is None


def _disagreements(found: Mapping[str, Any], dialect: Dialect) -> list[str]:
    """Return fields that are right alone and wrong together."""
    wrong = []
    if SEX_NAMES[found["sexCode"][-1]] != found["sexName"]:
        wrong.append("sexName")
    nation = NATION_NAMES[int(found["nationalCode"]) - 1]
    short = nation.removesuffix("族")
    names = {"yes": {nation}, "no": {short}, "any": {nation, short}}[dialect.nation_suffix]
    if found["nationalName"] not in names:
        wrong.append("nationalName")
    if not found["verifyTime"].startswith(found["verifyDate"]):
        wrong.append("verifyDate")
    if dialect.cert_status != "any" and found["certTimeoutStatus"] != _cert_status(found, dialect):
        wrong.append("certTimeoutStatus")
    return wrong


def _cert_status(found: Mapping[str, Any], dialect: Dialect) -> int:
    valid, expired = (int(value) for value in dialect.cert_status.split(","))
    end = found["cardEndDate"]
    # ISO dates sort as text.
    return valid if end == dialect.permanent_date or end[:10] >= found["verifyDate"] else expired
