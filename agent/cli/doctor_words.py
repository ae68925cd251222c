"""What `doctor` calls its checks, and what it saw, on a Chinese screen. Both names are keys in JSON."""

from __future__ import annotations

from agent import words
from agent.cli.status import STATES

#: What a check is called on a Chinese screen; its English name is a key that programs rely on.
LABELS = {
    "configuration": "配置文件",
    "package": "软件包",
    "daemon": "守护进程",
    "last run": "上次运行",
    "cause": "停止原因",
    "unit": "系统服务",
    "file": "生效的配置",
    "loops": "循环",
    "disk": "磁盘",
    "secrets": "密钥与票据",
    "time source": "校时",
    "journal": "系统日志",
    "console": "本机页面",
    "sealing": "加密速度",
    "database": "数据库",
    "queue": "待传时间",
    "balance": "账目",
    "room": "队列容量",
    "unreadable": "无法读取",
    "refused": "被拒记录",
    "operator": "操作人",
    "fields": "待补字段",
    "machine": "主机",
    "keys": "加密密钥",
    "key files": "密钥存放",
    "backup": "密钥备份",
    "clock": "时间可信",
    "audit": "审计日志",
    "registration": "设备登记",
    "port": "读卡器端口",
    "reader": "读卡器",
    "decoder": "照片解码",
    "camera": "摄像头",
    "picture": "画面",
    "pictures": "照片处理",
    "models": "模型文件",
    "face": "人脸比对",
    "intake": "接入",
    "desk": "桌面",
    "name": "域名解析",
    "line": "网络连接",
    "certificate": "TLS 证书",
    "skew": "时间偏差",
    "signature": "平台签名",
}
#: English names that say less than the check looks at: `file` is what is in force held against the file.
ENGLISH = {"file": "in force"}
#: What a check saw where all is well.
FACTS = {
    "address": "地址",
    "asked_by": "查询者",
    "count": "文件数",
    "date": "平台报出的时间",
    "device": "设备号",
    "difference": "差额",
    "engine": "引擎",
    "file": "文件",
    "free": "剩余空间",
    "host": "主机",
    "hours": "最早一条已等待（小时）",
    "issuer": "签发者",
    "kek": "密钥编号",
    "kept_in": "保存于",
    "kind": "方式",
    "listen": "监听",
    "model": "模型",
    "ms": "耗时（毫秒）",
    "picture": "画面",
    "port": "端口",
    "python": "Python",
    "sam_id": "安全模块",
    "seconds": "比平台快（秒）",
    "sent": "发送",
    "service": "服务账号",
    "share": "已用（%）",
    "source": "来源",
    "state": "状态",
    "suite": "加密套件",
    "threshold": "阈值",
    "tls": "TLS",
    "to": "地址",
    "version": "版本",
    "waiting": "未送达",
}
#: Of what it saw, words that elsewhere may be values to be typed as they stand.
VALUES = {"persistent": "磁盘", "memory": "内存", "builtin": "内置"}
MIB = 2**20


def label(check: str, lang: str) -> str:
    """Return what a check is called."""
    return LABELS.get(check, check) if lang == "zh" else ENGLISH.get(check, check)


def seen(fact: str, value: str, lang: str) -> str:
    """Return one thing that a check saw."""
    if fact == "free" and value.isdigit():
        value = f"{int(value) / MIB:.0f} MiB"
    if lang != "zh":
        return f"{fact}={value}"
    known = STATES.get(value) if fact == "state" else None
    text = known[0] if known else VALUES.get(value) or words.said(value, lang)
    return f"{FACTS.get(fact, fact)} {text}"
