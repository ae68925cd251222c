"""Appendix 1 of the platform's document. The blanks in names such as 侗 族 are there for looks only."""

from __future__ import annotations

#: cardType: 身份证, 港澳台, 外国人永久居住证, 其他.
CARD_TYPES = frozenset({"0", "1", "2", "9"})
NO_CHIP = "9"
#: faceResult and fingerResult: failed, passed, not verified.
RESULTS = frozenset({0, 1, 2})
#: GB/T 2261.1-2003, as far as a verification may say so: 未知 and 未说明 are asked for, not sent (R5).
SEXES = {"1": "男", "2": "女"}

_NATIONS = (
    *("汉", "蒙古", "回", "藏", "维吾尔", "苗", "彝", "壮"),
    *("布依", "朝鲜", "满", "侗", "瑶", "白", "土家", "哈尼"),
    *("哈萨克", "傣", "黎", "傈僳", "佤", "畲", "高山", "拉祜"),
    *("水", "东乡", "纳西", "景颇", "柯尔克孜", "土", "达斡尔", "仫佬"),
    *("羌", "布朗", "撒拉", "毛南", "仡佬", "锡伯", "阿昌", "普米"),
    *("塔吉克", "怒", "乌孜别克", "俄罗斯", "鄂温克", "德昂", "保安", "裕固"),
    *("京", "塔塔尔", "独龙", "鄂伦春", "赫哲", "门巴", "珞巴", "基诺"),
)
#: GB/T 3304-1991: code -> name without 族.
NATIONS = {f"{number:02d}": name for number, name in enumerate(_NATIONS, start=1)}


def nation_name(code: str, *, suffix: bool) -> str:
    """Return the name of a nation, with or without 族. KeyError for a code the appendix does not have."""
    return NATIONS[code] + ("族" if suffix else "")
