"""What `outbox` says: fields, in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping

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


def fields_help() -> str:
    """Return the fields that `amend` takes, for its help in both languages."""
    lines = [f"  {name:<14} {zh} / {en}" for name, (zh, en) in FIELDS.items()]
    return "\n".join(["\b", "可更正的字段 / fields:", *lines])
