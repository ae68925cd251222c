"""What one answer to /machine/info tells a probe: how far the request came, and what the answer proves. Pure.

The document has no code for a bad signature or a stale time (P22), so words are read where there are any;
what a signed or encrypted answer shows of keys and encodings is computed, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from agent.catalogue import AgentError
from agent.config.schema import Conventions
from agent.hmpt import answers, cipher, likelihood
from agent.hmpt.answers import Exchange, Sent, Terms
from agent.hmpt.conventions import sm4_key, written_time
from agent.hmpt.likelihood import Guess
from agent.hmpt.refusals import ALREADY_REGISTERED
from agent.hmpt.signing import SIGN, TIME, Authenticity, Identity, check_answer
from agent.records import Delivered, Unknown


class Stage(str, Enum):
    """How far a request came. Up to TICKET nobody looked at its conventions."""

    NETWORK = "network"  # never arrived
    SILENCE = "silence"  # sent, and no answer
    GARBLED = "garbled"  # 200, and nothing that could be read
    PAGE = "page"  # a proxy's or login page
    ADDRESS = "address"
    BUSY = "busy"
    LOCK = "lock"  # 429, or words that smell of one: not one request more
    TICKET = "ticket"
    ORG = "org"
    TIME = "time"
    SIGNATURE = "signature"
    ID = "id"
    MEDIA = "media"
    CIPHER = "cipher"
    BODY = "body"  # deciphered, perhaps, but no JSON
    FIELDS = "fields"  # read: a field of table 4.1 is named
    REFUSED = "refused"  # by the platform, which does not say why
    FOREIGN = "foreign"  # answers somebody else's request
    DONE = "done"  # 200 or B2301


@dataclass(frozen=True)
class Signed:
    """An answer's signature: by which keys, messages and times it can be right; by none, if empty."""

    encodings: tuple[str, ...]
    keys: tuple[tuple[str, str, str], ...]  # sign_key, sign_template, answer_time
    time_format: str | None  # of the answer's own time


@dataclass(frozen=True)
class Reading:
    """One answer, read. `shown` is what people may see of it; `mark` is equal for answers that look alike."""

    stage: Stage
    shown: str
    mark: str = ""
    code: str = ""  # of the catalogue, where the network or an HTTP status spoke
    skew_s: float | None = None
    signed: Signed | None = None
    opened_by: tuple[str, ...] | None = (
        None  # sm4_key names that open an encrypted answer; None: it was plain
    )
    named: tuple[str, ...] = ()  # fields of table 4.1 that a refusal names
    already: bool = False  # B2301
    doubt: Unknown | None = None  # why the daemon would not believe an answer that accepts
    settled: tuple[tuple[str, str], ...] = ()  # knobs of answers, as it believes this one
    authentic: bool = False  # signed, and rightly by those
    forbidden: bool = False  # HTTP 403, without the platform's JSON


#: Table 4.1.
FIELDS = (
    *("deptId", "deptName", "machineManufacturer", "machineMode", "purchaseTime", "machineCode", "deviceNo"),
    *("status", "registerUser", "registerTime"),
)

# First match decides: 机构签名错误 is about the signature, 机构已锁定 about a lock.
_WORDS: tuple[tuple[Stage, str], ...] = (
    (Stage.LOCK, r"锁定|冻结|封禁|黑名单|次数过多|频繁|限流|\block(ed)?\b|blocked|too many|rate.?limit"),
    (Stage.SIGNATURE, r"签名|验签|\bsign\b|signature"),
    (Stage.TICKET, r"票据|令牌|鉴权|未授权|\btoken\b|\bESB\b|unauthori[sz]ed"),
    (Stage.TIME, r"时间戳|时间(无效|过期|超时|格式|不正确|错误)|请求(已)?(过期|超时)|timestamp|expired"),
    (Stage.ORG, r"(机构|应用)(ID|编码|标识|代码)?(不存在|无效|未|错误|异常|不合法)|app-?id"),
    (Stage.ID, r"请求(ID|标识|编号|号)|request-?id|uuid|流水号"),
    (Stage.MEDIA, r"content-?type|media type"),
    (Stage.CIPHER, r"解密|密文|加密|密钥|decrypt|cipher|encrypt|pad block"),
    (Stage.BODY, r"json|报文格式|格式错误|解析|反序列化|parse|deserial"),
)
_PATTERNS = tuple((stage, re.compile(words, re.IGNORECASE)) for stage, words in _WORDS)

_STATUSES: Mapping[int, tuple[Stage, str]] = {
    **dict.fromkeys((401, 403), (Stage.TICKET, "E4303")),
    **dict.fromkeys((404, 405, 410, *range(300, 400)), (Stage.ADDRESS, "E4302")),
    **dict.fromkeys((407, 511), (Stage.PAGE, "E4305")),
    **dict.fromkeys((502, 503, 504), (Stage.BUSY, "E4201")),
    415: (Stage.MEDIA, "E4304"),
    429: (Stage.LOCK, "E4306"),
}


@dataclass(frozen=True)
class Reader:
    """Reads the answers to one probe's requests."""

    identity: Identity
    templates: tuple[str, ...]
    sign_keys: tuple[str, ...]
    sm4_keys: tuple[str, ...]
    base: Conventions
    now: Callable[[], datetime] = field(repr=False)

    @classmethod
    def of(
        cls, identity: Identity, space: likelihood.Space, base: Conventions, now: Callable[[], datetime]
    ) -> Reader:
        """Return a reader that knows every key and message of a space; `base` is what is configured."""

        def values(group: likelihood.Group, name: str) -> tuple[str, ...]:
            found = (dict(option.values)[name] for option in space[group])
            return tuple(dict.fromkeys(found))

        sign, body = likelihood.Group.SIGN, likelihood.Group.BODY
        return cls(
            identity,
            values(sign, "sign_template"),
            values(sign, "sign_key"),
            tuple(likelihood.cipher_keys("auto", identity.secret)) or values(body, "sm4_key"),
            base,
            now,
        )

    def read(self, exchange: Exchange, sent: Sent, guess: Guess, *, signed_before: bool = False) -> Reading:
        """Return what an answer to `guess` tells; `signed_before`: this platform signed an earlier one."""
        reading = self._told(exchange, sent)
        if reading.stage is not Stage.DONE:
            return reading
        return self._believed(reading, exchange, sent, guess, signed_before=signed_before)

    def _told(self, exchange: Exchange, sent: Sent) -> Reading:
        outer = answers.json_object(exchange.body)
        opened_by, answer = self._opened(outer)
        skew_s = self._skew(exchange, answer)
        if answer is None or answers.somebody_elses(exchange, answer):
            return self._without_json(exchange, skew_s, opened_by)
        signed = self._signed(exchange, answer, sent)
        stage, named = _stage(exchange, answer)
        code, exception = answer.get("code"), answer.get("exceptionCode")
        message = answers.safe(str(answer.get("msg") or ""))
        shown = f"HTTP {exchange.status} code {answers.safe(str(code))[:16]}"
        shown += f" {answers.safe(str(exception))[:16]}" if exception else ""
        shown += f" “{message}”" if message else ""
        return Reading(
            stage,
            shown,
            # Two answers look alike when only times, ids and other digits differ.
            mark=re.sub(r"[0-9a-f-]{8,}|\d+", "#", f"{exchange.status} {code} {exception} {message}"),
            code="E4306" if stage is Stage.LOCK else "",
            skew_s=skew_s,
            signed=signed,
            opened_by=opened_by,
            named=named,
            already=exception == ALREADY_REGISTERED,
        )

    def _without_json(
        self, exchange: Exchange, skew_s: float | None, opened_by: tuple[str, ...] | None
    ) -> Reading:
        status, kind = exchange.status, exchange.headers.get("content-type", "")
        is_page = exchange.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
        stage, code = _STATUSES.get(status, (Stage.REFUSED, ""))
        if status == 200 and is_page:
            stage, code = Stage.PAGE, "E4305"
        elif status == 200 and opened_by is None:
            stage, code = Stage.GARBLED, "E5002"
        form = "HTML" if is_page else "{data}" if opened_by is not None else kind.split(";")[0] or "-"
        realm = exchange.headers.get("www-authenticate", "")
        return Reading(
            stage,
            f"HTTP {status} {form}",
            mark=f"{status} {form} {realm} {exchange.headers.get('server', '')} {len(exchange.body) // 64}",
            code=code,
            skew_s=skew_s,
            opened_by=opened_by,
            forbidden=status == 403,
        )

    def _opened(self, outer: dict[str, Any] | None) -> tuple[tuple[str, ...] | None, dict[str, Any] | None]:
        """Return which keys open an encrypted answer, and the answer in plain."""
        if outer is None or "code" in outer:
            return None, outer
        text = outer.get("data")
        if not isinstance(text, str) or not text:
            return None, None
        found: dict[str, dict[str, Any]] = {}
        for name in self.sm4_keys:
            key = sm4_key(Conventions.model_validate({"sm4_key": name}), self.identity.secret)
            try:
                inner = answers.json_object(cipher.decrypted(text, key))
            except ValueError:
                continue
            if inner is not None and "code" in inner:
                found[name] = inner
        return tuple(found), next(iter(found.values()), None)

    def _believed(
        self, reading: Reading, exchange: Exchange, sent: Sent, guess: Guess, *, signed_before: bool
    ) -> Reading:
        """Return the reading of an answer that accepts, judged as the daemon will judge it."""
        doubt: Unknown | None = None
        for settled in self._settlements(guess):
            conventions = guess.conventions(self.base).model_copy(update=dict(settled))
            terms = Terms(conventions, self.identity, self._key(conventions), signed_before)
            outcome = answers.judge(exchange, replace(sent, registers=True), terms, self.now())
            if isinstance(outcome, Delivered):
                return replace(reading, settled=settled, authentic=outcome.receipt.signed)
            # What it would not even take for the platform's own is read by us alone: decrypt_answer is off.
            doubt = doubt or (outcome if isinstance(outcome, Unknown) else Unknown("E5002", reading.shown))
        foreign = doubt is not None and doubt.code == "E5005"
        return replace(reading, stage=Stage.FOREIGN if foreign else Stage.DONE, doubt=doubt)

    def _settlements(self, guess: Guess) -> Iterator[tuple[tuple[str, str], ...]]:
        """Yield the ways to take an answer: as configured, then by another time, then by another key.

        The key is free only where nothing is encrypted with it.
        """
        times = dict.fromkeys((self.base.answer_time, "auto", "own", "request", "return_time"))
        for key in (None,) if guess.encrypt else (None, *self.sm4_keys):
            for time in times:
                yield (("answer_time", time), *((("sm4_key", key),) if key else ()))

    def _key(self, conventions: Conventions) -> bytes | None:
        try:
            return sm4_key(conventions, self.identity.secret)
        except AgentError:
            return None

    def _skew(self, exchange: Exchange, answer: Mapping[str, Any] | None) -> float | None:
        """Return by how many seconds the platform's clock is ahead: by returnTime, else by Date."""
        now = self.now()
        returned = None if answer is None else answer.get("returnTime")
        if isinstance(returned, str) and re.fullmatch(r"\d{13}", returned):
            returned = int(returned)
        if type(returned) is int and returned > 10**12:
            return returned / 1000 - now.timestamp()
        date = answers.http_date(exchange.headers.get("date", ""))
        return None if date is None else (date - now).total_seconds()

    def _signed(self, exchange: Exchange, answer: Mapping[str, Any], sent: Sent) -> Signed | None:
        found = exchange.headers.get(SIGN, "").strip()
        if not found:
            return None
        encodings = _encodings(found)
        right = []
        for key in self.sign_keys:
            for template in self.templates:
                for time in ("own", "request", "return_time"):
                    conventions = Conventions(
                        sign_encoding="base64" if encodings == ("base64",) else "hex",
                        sign_key=key,  # type: ignore[arg-type]  # of the space
                        sign_template=template,
                        answer_time=time,
                    )
                    said = check_answer(
                        conventions, self.identity, exchange.headers, sent.time, answer.get("returnTime")
                    )
                    if said is Authenticity.RIGHT:
                        right.append((key, template, time))
        own = written_time(exchange.headers.get(TIME, ""))
        return Signed(encodings, tuple(right), None if own is None else own[0])


def _encodings(found: str) -> tuple[str, ...]:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", found):
        return ("base64",)
    if found == found.lower() == found.upper():
        return ("hex", "HEX")
    return ("HEX",) if found == found.upper() else ("hex",)


def _stage(exchange: Exchange, answer: Mapping[str, Any]) -> tuple[Stage, tuple[str, ...]]:
    """Return how far the request came by the platform's own answer, and the fields it names."""
    exception = answer.get("exceptionCode")
    done = answers.is_success(answer.get("code")) and answers.all_well(exception)
    if done or exception == ALREADY_REGISTERED:
        return Stage.DONE, ()
    message = str(answer.get("msg") or "")
    named = tuple(name for name in FIELDS if re.search(rf"(?<![A-Za-z]){name}(?![A-Za-z])", message))
    if named == ("status",) and exception != "A2301":
        named = ()  # an English word, too
    said = {str(exchange.status), str(answer.get("code"))}
    if "429" in said:
        return Stage.LOCK, ()
    if "503" in said:
        return Stage.BUSY, ()
    if named:
        return Stage.FIELDS, named
    for stage, words in _PATTERNS:
        if words.search(message):
            return stage, ()
    return (Stage.MEDIA if exchange.status == 415 else Stage.REFUSED), ()
