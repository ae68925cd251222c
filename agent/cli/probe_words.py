"""What `probe` says: each step and its reason, in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping

from agent.hmpt.likelihood import EITHER, Guess
from agent.hmpt.probing import Cause, Try, Why
from agent.hmpt.readings import Reading, Stage

Words = tuple[str, str]  # zh, en

WHY: Mapping[Why, Words] = {
    Why.CONFIGURED: ("按现在的配置：", "as configured:"),
    Why.LIKELIEST: ("改动：", "changed:"),
    Why.BAD_SIGNATURE: (
        "对照：故意用错误的签名，看平台怎样回答",
        "control: a signature that is wrong on purpose",
    ),
    Why.BAD_BODY: ("对照：故意发无法解开的报文", "control: a body that cannot be read, on purpose"),
    Why.BAD_TICKET: ("对照：故意用错误的票据", "control: a ticket that is wrong on purpose"),
    Why.CLOCK: ("同样的请求，改用平台的时间签名", "the same, signed with the platform's time"),
    Why.OWN_CLOCK: (
        "同样的请求，再用本机时间，确认是不是时间的问题",
        "the same with our own time: is it the clock?",
    ),
    Why.BEARER: ("同样的请求，改变票据的 Bearer 前缀", "the same, the ticket's prefix Bearer changed"),
    Why.AGAIN: ("没有可用的应答，再问一次", "no usable answer: asked once more"),
    Why.PADDING: ("两种填充都能读的报文被接受；是哪一种：", "read under both paddings; which one is it:"),
}

MEANS: Mapping[Stage, Words] = {
    Stage.NETWORK: ("没有到达平台", "it did not arrive"),
    Stage.SILENCE: ("已发出，没有应答", "sent, and no answer"),
    Stage.GARBLED: ("有应答，但读不出内容", "an answer that cannot be read"),
    Stage.PAGE: ("是网页，不是平台接口", "a web page, not the platform"),
    Stage.ADDRESS: ("这个地址没有该接口", "there is no such interface at this address"),
    Stage.BUSY: ("平台暂不服务", "the platform does not serve now"),
    Stage.LOCK: ("平台在限制请求：立即停止", "the platform limits us: stop at once"),
    Stage.TICKET: ("票据被拒，还没有轮到签名", "the ticket is refused; nobody looked at the signature"),
    Stage.ORG: ("机构号被拒", "the organisation is refused"),
    Stage.TIME: ("时间被拒：写法不对，或本机时间不对", "the time is refused: its form, or our clock"),
    Stage.SIGNATURE: ("签名被拒：排除这种写法", "the signature is refused: this way is ruled out"),
    Stage.ID: ("请求号的写法被拒", "the form of the request id is refused"),
    Stage.MEDIA: ("Content-Type 被拒", "the media type is refused"),
    Stage.CIPHER: ("签名已通过，密文解不开", "the signature passed; the cipher is not understood"),
    Stage.BODY: ("签名已通过，解密后不是 JSON", "the signature passed; what was deciphered is no JSON"),
    Stage.FIELDS: ("签名和报文已读懂，字段被拒", "signature and body are understood; a field is refused"),
    Stage.REFUSED: ("被拒，平台没有说原因", "refused, and the platform does not say why"),
    Stage.FOREIGN: ("这个应答属于别的请求", "this answers another request"),
    Stage.DONE: ("接受", "accepted"),
}

#: What a control that is wrong on purpose shows, where the platform refuses it for just that.
AS_EXPECTED: Mapping[Why, tuple[frozenset[Stage], Words]] = {
    Why.BAD_SIGNATURE: (
        frozenset({Stage.SIGNATURE}),
        ("错误的签名被拒，如所料", "the wrong signature is refused, as it should be"),
    ),
    Why.BAD_BODY: (
        frozenset({Stage.CIPHER, Stage.BODY}),
        ("解不开的报文被拒，如所料", "the unreadable body is refused, as it should be"),
    ),
    Why.BAD_TICKET: (
        frozenset({Stage.TICKET}),
        ("错误的票据被拒，如所料", "the wrong ticket is refused, as it should be"),
    ),
}
NOT_LOOKED_AT: Words = (
    "故意出错也被接受：平台不检查这一项",
    "wrong on purpose, and accepted: the platform does not check this",
)
UNOPENED: Words = (
    "应答是密文，用本机密钥推出的各种密钥都解不开",
    "the answer is encrypted, and no key that our secret gives opens it",
)
OVERSIZED: Words = ("有应答，但过大，不像平台的", "an answer too large to be the platform's")
#: What to do where the catalogue speaks of records that go again: a probe sends none, and has stopped.
STOPPED: Mapping[Cause, Words] = {
    Cause.SILENCE: (
        "没有发出任何记录。稍后再运行 kiosk-agent probe；仍无应答时请平台管理员按时间查是否收到请求",
        "No record was sent. Run kiosk-agent probe again later; if there is still no answer ask the "
        "platform's administrator whether the requests arrived",
    ),
    Cause.GARBLED: (
        "没有发出任何记录。核对 platform.base_url，请平台管理员给出一个应答样例，再运行 kiosk-agent probe",
        "No record was sent. Check platform.base_url, ask the platform's administrator for a sample of an "
        "answer, then run kiosk-agent probe again",
    ),
    Cause.CONTRADICTORY: (
        "没有发出任何记录。请平台管理员说明接受登记时的 HTTP 状态和代码为何不一致，再运行 kiosk-agent probe",
        "No record was sent. Ask the platform's administrator why HTTP status and code of an accepted "
        "registration disagree, then run kiosk-agent probe again",
    ),
    Cause.BUSY: (
        "没有发出任何记录。等平台恢复后再运行 kiosk-agent probe",
        "No record was sent. Run kiosk-agent probe again when the platform serves",
    ),
}
#: An answer that accepts, and that the daemon would not believe: by the code of its doubt.
DOUBTED: Mapping[str, Words] = {
    "E5002": (
        "接受，但应答是密文，按现在的配置读不出：守护进程不会相信",
        "accepted, but the answer is encrypted and cannot be read as configured: the daemon would doubt it",
    ),
    "E5003": (
        "接受，但应答的签名不对：守护进程不会相信",
        "accepted, but the answer's signature is wrong: the daemon would doubt it",
    ),
    "E5004": (
        "接受，但应答没有签名，而配置要求签名：守护进程不会相信",
        "accepted, but the answer is not signed, which is required: the daemon would doubt it",
    ),
    "E5007": (
        "接受，但应答自相矛盾：守护进程不会相信",
        "accepted, but the answer contradicts itself: the daemon would doubt it",
    ),
    "E5009": (
        "接受，但应答没有签名，而此前的都有：守护进程不会相信",
        "accepted, but the answer is not signed, and earlier ones were: the daemon would doubt it",
    ),
    "E5010": (
        "接受，但应答的签名时间与本机相差一天以上，可能是重放：守护进程不会相信",
        "accepted, but the answer was signed more than a day away from our time, perhaps a replay: "
        "the daemon would doubt it",
    ),
}
#: The same stages where the body went in plain.
PLAIN: Mapping[Stage, Words] = {
    Stage.CIPHER: (
        "签名已通过；平台要密文，这次发的是明文",
        "the signature passed; the platform wants ciphertext, and this was sent in plain",
    ),
    Stage.BODY: (
        "签名已通过；明文报文的形式不对",
        "the signature passed; the plain body is not of the form that is wanted",
    ),
}

CODES: Mapping[Cause, str] = {
    Cause.GARBLED: "E5002",
    Cause.PAGE: "E4305",
    Cause.ADDRESS: "E4302",
    Cause.BUSY: "E4201",
    Cause.LOCK: "E4306",
    Cause.TICKET: "E4303",
    Cause.TICKET_PREFIX: "E5207",
    Cause.ORG: "E5203",
    Cause.SECRET: "E5201",
    Cause.CLOCK: "E5202",
    Cause.CIPHER: "E5208",
    Cause.MEDIA: "E4304",
    Cause.VALUES: "E5204",
    Cause.ANSWER_SIGNATURE: "E5205",
    Cause.UNSIGNED: "E5009",
    Cause.STALE: "E5010",
    Cause.CONTRADICTORY: "E5007",
    Cause.FOREIGN: "E5209",
    Cause.NOTHING_FITS: "E5206",
}


def means(attempt: Try, reading: Reading) -> Words:
    """Return what an answer to this request means."""
    stage = reading.stage
    if reading.opened_by == ():
        return UNOPENED
    if reading.code == "E5008":
        return OVERSIZED
    expected = AS_EXPECTED.get(attempt.why)
    if expected is not None and stage in expected[0]:
        return expected[1]
    if expected is not None and stage is Stage.DONE:
        return NOT_LOOKED_AT
    if stage is Stage.DONE and reading.doubt is not None:
        return DOUBTED.get(reading.doubt.code, DOUBTED["E5002"])
    if not attempt.guess.encrypt and stage in PLAIN:
        return PLAIN[stage]
    return MEANS[stage]


def code(cause: Cause, reading: Reading | None) -> str:
    """Return the catalogue code of a cause; the network's or the daemon's doubt's own where there is one."""
    if cause in {Cause.NETWORK, Cause.SILENCE} and reading is not None:
        return reading.code
    if cause is Cause.UNSIGNED and reading is not None and reading.doubt is not None:
        return reading.doubt.code
    return CODES[cause]


def detail(cause: Cause, reading: Reading | None) -> str:
    """Return what is told of a cause: what the answer said, or what the daemon would doubt in it."""
    if reading is None:
        return "-"
    doubted = reading.doubt is not None and code(cause, reading) == reading.doubt.code
    return reading.doubt.detail if doubted and reading.doubt else reading.shown


def differences(guess: Guess, before: Guess | None) -> str:
    """Return what of a guess is new, as the configuration writes it."""
    shown = _shown(guess)
    if before is None:
        return "  ".join(f"{name}={value}" for name, value in shown.items())
    old = _shown(before)
    new = {name: value for name, value in shown.items() if old.get(name) != value}
    return "  ".join(f"{name}={value}" for name, value in new.items())


def _shown(guess: Guess) -> dict[str, object]:
    """Return the knobs that matter for this guess: a plain body has no key, an encrypted one no shape."""
    names = [
        "sign_encoding",
        "sign_key",
        "sign_template",
        "time_format",
        "request_id",
        "content_type",
        "encrypt",
    ]
    names += ["sm4_key", "padding", "cipher_encoding"] if guess.encrypt else ["body_shape"]
    found: dict[str, object] = {name: getattr(guess, name) for name in names}
    if guess.padding == EITHER:
        found["padding"] = "pkcs7|zero"
    found["encrypt"] = str(guess.encrypt).lower()
    found["send_register_time"] = str(guess.send_register_time).lower()
    return found


def proofs(reading: Reading, *, already: bool) -> list[Words]:
    """Return why a found set is sure. `already`: the device was known before we came."""
    found: list[Words] = [
        (
            "平台回答 B2301：它读懂了设备信息，且早有这台设备。错误的签名或密钥得不到这个回答",
            "the platform says B2301: it read the device's values and knows them. "
            "A wrong signature or key never gets that",
        )
        if already
        else (
            "平台回答 200：它读懂了设备信息，并登记了这台设备",
            "the platform says 200: it read the device's values and registered the device",
        )
    ]
    found.append(_signature(reading))
    if reading.opened_by:
        found.append(("应答是密文，用同一密钥解开", "the answer was encrypted, and the same key opens it"))
    if reading.skew_s is not None:
        off = f"{abs(reading.skew_s):.1f}"
        found.append((f"本机与平台的时间相差 {off} 秒", f"our clock and the platform's are {off} s apart"))
    return found


def _signature(reading: Reading) -> Words:
    """Return what the signature of an answer that the daemon believes says."""
    if reading.authentic:
        covers = f"answer_time: {dict(reading.settled)['answer_time']}"
        return (
            f"应答有签名，用本机密钥验证通过（{covers}）",
            f"the answer is signed, and verifies with our secret ({covers})",
        )
    if reading.signed is not None:
        return (
            "应答的签名没有核对（verify_answer: off）",
            "the answer's signature was not looked at (verify_answer: off)",
        )
    return (
        "应答没有签名，按 verify_answer 接受；收到过正确签名的应答之后，就不再相信没有签名的",
        "the answer is not signed, which verify_answer allows; "
        "once an answer was signed rightly, none without is believed",
    )
