"""What the verbs around the platform show: each value's name and state, in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping

Words = tuple[str, str]  # zh, en

#: /machine/info, under the names of table 4.1 as the administrator reads them.
DEVICE: Mapping[str, str] = {
    "deptId": "科室编号",
    "deptName": "科室名称",
    "machineManufacturer": "设备厂商",
    "machineMode": "设备型号",
    "purchaseTime": "采购日期",
    "machineCode": "设备特征码",
    "deviceNo": "设备编号",
    "status": "状态",
    "registerUser": "登记人",
}
STATUS: Mapping[int, Words] = {0: ("启用", "enabled"), 1: ("停用", "disabled")}

#: `platform show`, in the order of the screen.
PLATFORM: Mapping[str, Words] = {
    "base_url": ("地址", "address"),
    "registered_at": ("首次确认登记", "registration first confirmed"),
    "registered_last": ("最近确认登记", "registration last confirmed"),
    "registered_before": ("首次询问时平台已有本设备", "known there before we first asked"),
    "out_of_service_since": ("停用自", "out of service since"),
    "out_of_service_by": ("停用操作人", "taken out of service by"),
    "conventions": ("约定的指纹", "fingerprint of the conventions"),
    "proven": ("按此约定已有记录被接收", "a record was accepted by these"),
    "answers_signed": ("平台对应答签名", "the platform signs its answers"),
    "waiting_for": ("等待原因", "waits because of"),
    "next_try": ("下次尝试", "next try"),
    "suspects": ("待判断的记录", "records under suspicion"),
    "skew_s": ("平台时间比本机快（秒）", "its clock is ahead of ours by (s)"),
}
YES_NO: Mapping[bool, Words] = {True: ("是", "yes"), False: ("否", "no")}

#: `upload --dry-run`.
COLUMNS: tuple[Words, ...] = (
    ("字段", "field"),
    ("类型", "type"),
    ("字符数", "chars"),
    ("UTF-8 字节", "utf-8"),
    ("值或形状", "value or shape"),
)
TYPES: Mapping[str, Words] = {
    "string": ("字符串", "string"),
    "number": ("数字", "number"),
    "null": ("空", "null"),
    "picture": ("图片", "picture"),
}

#: `register`, by the status that was asked for; None: no change of it.
TO_BE_SENT: Words = ("将发送给平台：", "To be sent to the platform:")
REGISTER: Mapping[int | None, Words] = {
    None: (
        "登记后不能撤销、不能修改。以上各值与管理员录入的逐字一致，登记吗？",
        "This cannot be undone or changed. Are these values, letter for letter, right? Register?",
    ),
    0: (
        "恢复使用后，等待的记录将上传。以上各值与管理员录入的逐字一致，恢复使用吗？",
        "What waits will be sent. Are these values, letter for letter, right? Put it back in service?",
    ),
    1: (
        "停用后照常核验，记录留在本机等待，直到恢复使用。停用吗？",
        "Verifications go on, their records wait here until it is back. Take the device out of service?",
    ),
}
ENABLED_THERE: Words = (
    "平台答“已添加”（B2301），没有改变设备状态。桂妇儿管理员已确认该设备在平台上为“启用”？",
    'The platform says "already added" (B2301): nothing changed. '
    "Has the platform's administrator confirmed that the device is enabled there?",
)
#: By (status that was asked for, whether the platform knew the device already).
REGISTERED: Mapping[tuple[int | None, bool], Words] = {
    (None, False): ("已登记，状态为启用（status 0）", "registered, enabled (status 0)"),
    (None, True): ("平台早有这台设备（B2301），无变化", "the platform knows this device already (B2301)"),
    (0, False): ("已恢复使用（status 0），等待的记录开始上传", "in service (status 0); what waits goes out"),
    (0, True): (
        "已恢复使用，等待的记录开始上传；平台答“已添加”（B2301），没有改变它那里的状态",
        "in service; what waits goes out. "
        'The platform says "already added" (B2301) and changed nothing there',
    ),
    (1, False): (
        "已停用，平台已知（status 1）；记录留在本机等待",
        "out of service (status 1), and the platform knows; records wait here",
    ),
    (1, True): (
        "已在本机停用，记录留在本机等待。平台答“已添加”（B2301），没有改变它那里的状态：请桂妇儿管理员停用该设备",
        "out of service here; records wait. "
        'The platform says "already added" (B2301) and changed nothing there: '
        "ask its administrator to disable the device",
    ),
}

NO_LONGER_SIGNS: Words = (
    "平台确认不再对应答签名？",
    "Has the platform confirmed that it no longer signs?",
)
TIME_IS_RIGHT: Words = ("本机时间正确？", "Is this machine's time right?")

HEADINGS: tuple[Words, ...] = (("项目", "item"), ("值", "value"))
