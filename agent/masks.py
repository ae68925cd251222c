"""Names and numbers as they are shown where nobody asked for more: enough to recognise, not to copy."""

from __future__ import annotations


def name(full: str, rule: str) -> str:
    """Return a name under `console.mask.name`: `surname` keeps the first character, anything else none."""
    if not full:
        return ""
    shown = full[:1] if rule == "surname" else ""
    return shown + "*" * max(1, len(full) - len(shown))


def number(full: str, rule: str) -> str:
    """Return a number under `console.mask.number`, `A+B`: the first A and the last B characters."""
    first, last = (int(part) for part in rule.split("+"))
    if first + last >= len(full):
        return "*" * len(full)
    return full[:first] + "*" * (len(full) - first - last) + full[len(full) - last :]
