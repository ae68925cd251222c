"""The shape of the configuration. Every key has a default unless its type says that it must be given.

What each key means stands in descriptions.yaml, in both languages; `make docs` makes config.example.yaml and
docs/zh/configuration.md of both. The keys and their defaults are an interface that other people's files rely
on; rows such as "P1" or "R10" refer to the close reading of the platform's document in docs/platform.md.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from agent import room

#: Six months: the shortest time that network logs must be kept (Cybersecurity Law, article 21).
MIN_AUDIT_DAYS = 184
#: Below this cosine the engine says "same person" of one stranger in a thousand of the same origin.
FACE_THRESHOLD_FLOOR = 0.40
#: An address and a port, or `none`: then nothing listens.
LISTEN = r"^(none|(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:]+\]|localhost):\d{1,5})$"
#: What `reader.port` can say; the meaning is in drivers/discovery.py.
PORT = r"^(auto|usb:[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}(:.+)?|replay:.+|/.+)$"
#: operationUser is VARCHAR(10) in table 4.2.
MAX_OPERATOR_CHARS = 10


class Section(BaseModel):
    """A block of the file: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, allow_inf_nan=False, hide_input_in_errors=True
    )


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("blank")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]
Text50 = Annotated[str, Field(max_length=50), AfterValidator(_not_blank)]
Operator = Annotated[str, Field(max_length=MAX_OPERATOR_CHARS), AfterValidator(_not_blank)]

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(rf"(\d{{1,15}}(?:\.\d{{1,9}})?)\s?({'|'.join(_UNITS)})")


def _bytes(value: Any) -> Any:
    """Read 20GiB, 500MB or a plain number of bytes."""
    size = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return int(Decimal(size[1]) * _UNITS[size[2]]) if size else value


class Secret(Section):
    """Where a secret is kept; the value itself never stands in the file.

    Exactly one of the two: `credential` names a systemd credential, `file` a file that only the
    service's user may read.
    """

    credential: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,255}$")] | None = None
    file: Text | None = None

    def model_post_init(self, _context: object) -> None:
        if (self.credential is None) == (self.file is None):
            raise ValueError("one_of_credential_file")


class Substitutes(Section):
    """R7, R8: what to send for cards that carry no nation or address. Absent: held for the operator."""

    nation_code: Annotated[str, Field(pattern=r"^\d{2}$")] | None = None
    nation_name: Annotated[str, Field(max_length=10)] | None = None
    address: Annotated[str, Field(max_length=100)] | None = None
    police: Annotated[str, Field(max_length=100)] | None = None


class CertStatus(Section):
    """R20: certTimeoutStatus."""

    valid: int = 0
    expired: int = 1


class CardTypes(Section):
    """R26: the chip's letter -> cardType of appendix 1."""

    R: str = "0"
    J: str = "1"
    I: str = "2"  # noqa: E741 -- the chip's own letter
    Y: str = "2"
    other: str = "9"  # no chip: handed in by a kiosk


def text_length(text: str, unit: str) -> int:
    """Return how much of a VARCHAR(n) a text takes, by `length_unit` (R2): characters, or bytes."""
    if unit == "chars":
        return len(text)
    return len(text.encode("gb18030" if unit == "gbk" else "utf-8", "replace"))


class Conventions(Section):
    """What the platform's document leaves open. Defaults are the safest reading of each row."""

    sign_encoding: Literal["hex", "HEX", "base64"] = "hex"
    sign_key: Literal["utf8", "hex", "base64"] = "utf8"
    sign_template: str = "{id}{time}"
    time_format: Literal["millis", "seconds", "yyyyMMddHHmmss", "yyyy-MM-dd HH:mm:ss"] = "millis"
    request_id: Literal["hex32", "uuid36"] = "hex32"
    request_id_per: Literal["record", "attempt"] = "record"
    content_type: Text = "application/json;charset=UTF-8"
    sm4_key: Literal["auto", "utf8", "hex", "first16", "md5", "md5hex16", "sm3"] = "auto"
    padding: Literal["pkcs7", "zero"] = "pkcs7"
    cipher_encoding: Literal["base64", "hex", "HEX"] = "base64"
    body_shape: Literal["bare", "data"] = "bare"
    verify_answer: Literal["required", "if-present", "off"] = "if-present"
    answer_time: Literal["auto", "own", "request", "return_time"] = "auto"
    decrypt_answer: Literal["auto", "off"] = "auto"
    send_register_time: bool = False
    long_name: Literal["send", "hold"] = "send"
    length_unit: Literal["chars", "utf8", "gbk"] = "chars"
    types: Literal["table", "example"] = "table"
    sex_width: Literal[1, 2] = 1
    nation_suffix: bool = True
    substitutes: Substitutes = Substitutes()
    card_dates: Literal["date", "datetime"] = "date"
    permanent_date: str = "-"
    score_decimals: Annotated[int, Field(ge=0, le=6)] = 2
    cert_status: CertStatus = CertStatus()
    absent_finger: Literal["omit", "null"] = "omit"
    card_types: CardTypes = CardTypes()
    private_use: Literal["send", "hold"] = "send"
    address: Literal["printed", "newest"] = "printed"


class Platform(Section):
    base_url: Annotated[str, Field(pattern=r"^https?://[^/\s?#@\\]+(/[^\s?#@\\]*)?$")]
    org_app_id: Text
    org_app_secret: Secret
    authorization: Secret
    encrypt: bool
    ca_file: Text | None = None
    proxy: Annotated[str, Field(pattern=r"^https?://[^/\s?#@\\]+/?$")] | None = None
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10
    answer_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60
    register_: Literal["auto", "never"] = Field("auto", alias="register")
    correct_skew: bool = False
    drain_per_minute: Annotated[int, Field(ge=1, le=6000)] = 60
    retry_budget_per_hour: Annotated[int, Field(ge=1, le=100000)] = 600
    conventions: Conventions = Conventions()


class Device(Section):
    """What /machine/info says; letter for letter as the administrator entered it."""

    dept_id: Text50
    dept_name: Text50
    manufacturer: Text50
    model: Text50 = "TSR-R3"
    purchase_date: date
    machine_code: Text50
    device_no: Text50
    register_user: Text50


class PhotoLibrary(Section):
    """A vendor's library for the chip's photograph; the calls are those of drivers/photo_child.py."""

    path: Annotated[str, Field(pattern=r"^/.+")] | None = None
    call: Literal[
        "unpack", "wlt2bmp-buffer", "decoding-photos", "dewlt", "mt-wlt2rgb", "get-bmp", "get-bmp-file"
    ] = "unpack"
    vendor_code: Annotated[int, Field(ge=0, le=65535)] = 0
    pixels: Literal["bgr", "rgb"] = "bgr"
    rows: Literal["bottom-up", "top-down"] = "bottom-up"
    helper: tuple[Text, ...] = ()


class PhotoDecoder(Section):
    kind: Literal["command", "library", "simulated"] = "command"
    command: tuple[Text, ...] = ("/opt/vendor/wlt2bmp",)
    input: Literal["block", "frame"] = "block"
    library: PhotoLibrary = PhotoLibrary()
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5


class Reader(Section):
    source: Literal["sdt", "none"] = "sdt"
    port: Annotated[str, Field(pattern=PORT)] = "auto"
    baud: Literal[115200, 57600, 38400, 19200, 9600] = 115200
    poll_interval_s: Annotated[float, Field(ge=0.3, le=5)] = 0.35
    photo_decoder: PhotoDecoder = PhotoDecoder()


class Camera(Section):
    source: Text = "auto"
    password: Secret | None = None
    width: Annotated[int, Field(ge=160, le=8192)] = 1280
    height: Annotated[int, Field(ge=120, le=8192)] = 720
    rotate: Literal[0, 90, 180, 270] = 0
    mirror: bool = False


Cosine = Annotated[float, Field(gt=0, lt=1)]


class Onnx(Section):
    """A recogniser that the hospital brings: its file, what it wants to be fed, and its own measured cosines.

    It is fed an upright square crop aligned by five landmarks (the ArcFace template). `far_1eN`: the cosine
    that one pair of strangers in 10^N reaches, measured with this file.
    """

    model: Text | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    side: Annotated[int, Field(ge=32, le=512)] = 112
    mean: float = 127.5
    std: Annotated[float, Field(gt=0)] = 127.5
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    input_name: Text | None = None
    embedding: Annotated[int, Field(ge=16, le=4096)] | None = None
    far_1e3: Cosine | None = None
    far_1e4: Cosine | None = None
    far_1e5: Cosine | None = None

    @property
    def cosines(self) -> dict[float, float]:
        """Return the measured cosines by false-accept rate."""
        given = {1e-3: self.far_1e3, 1e-4: self.far_1e4, 1e-5: self.far_1e5}
        return {far: cosine for far, cosine in given.items() if cosine is not None}

    @property
    def missing(self) -> list[str]:
        """Return what `engine: onnx` needs and is not given."""
        needed = ("model", "sha256", "embedding", "far_1e3", "far_1e4", "far_1e5")
        return [name for name in needed if getattr(self, name) is None]


class Liveness(Section):
    """A program that says how alive a face looks: its answer stays with the record and decides nothing.

    It gets a JPEG on its standard input and answers with a number from 0 to 1. No command: no check.
    """

    command: tuple[Text, ...] = ()
    timeout_s: Annotated[float, Field(gt=0, le=10)] = 2


class Face(Section):
    engine: Literal["builtin", "onnx", "none"] = "builtin"
    onnx: Onnx = Onnx()
    weights_dir: Text | None = None
    threshold: Cosine | None = None
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    liveness: Liveness = Liveness()

    @property
    def floor(self) -> float:
        """Return the cosine below which this engine's threshold may not be set."""
        return self.onnx.cosines.get(1e-3, 1.0) if self.engine == "onnx" else FACE_THRESHOLD_FLOOR


class Operators(Section):
    default: Operator | None = None
    list: tuple[Operator, ...] = ()
    sign_in_h: Annotated[float, Field(gt=0, le=48)] = 12


class Images(Section):
    target_bytes: Annotated[int, Field(ge=10_000), BeforeValidator(_bytes)] = 250_000
    max_base64_chars: Annotated[int, Field(ge=20_000, le=3_000_000)] = 3_000_000


class OutboxSection(Section):
    max_bytes: Annotated[int, Field(ge=2**20), BeforeValidator(_bytes)] = room.QUOTA_BYTES
    keep_delivered_h: Annotated[float, Field(ge=0, le=24 * 366)] = 24


class Audit(Section):
    keep_days: Annotated[int, Field(ge=MIN_AUDIT_DAYS)] = 200


class Keys(Section):
    """Absent: made at first start below state_dir/keys."""

    seal: Secret | None = None
    audit: Secret | None = None
    pseudonym: Secret | None = None


class Intake(Section):
    """Results of a kiosk that compares by itself."""

    http: bool = False
    token: Secret | None = None
    folder: Text | None = None
    mapping: Text | None = None
    pictures: Text | None = None

    @property
    def wanted(self) -> bool:
        """Return whether anything is to be taken in."""
        return self.http or self.folder is not None


class Mask(Section):
    name: Literal["surname", "all"] = "surname"
    number: Annotated[str, Field(pattern=r"^\d\+\d$")] = "1+2"


class Console(Section):
    listen: Annotated[str, Field(pattern=LISTEN)] = "127.0.0.1:8765"
    clear_after_s: Annotated[float, Field(ge=1, le=3600)] = 30
    notice: str | None = None
    mask: Mask = Mask()
    max_streams: Annotated[int, Field(ge=1, le=64)] = 6


class Logging(Section):
    level: Literal["traffic", "debug", "info", "warning", "error"] = "info"


class Config(Section):
    """The whole file."""

    lang: Literal["zh", "en"] = "zh"
    state_dir: Text = "/var/lib/kiosk-agent"
    platform: Platform
    device: Device
    reader: Reader = Reader()
    camera: Camera = Camera()
    face: Face = Face()
    operators: Operators = Operators()
    images: Images = Images()
    outbox: OutboxSection = OutboxSection()
    audit: Audit = Audit()
    keys: Keys = Keys()
    intake: Intake = Intake()
    console: Console = Console()
    logging: Logging = Logging()

    @property
    def has_desk(self) -> bool:
        """Return whether cards are read and faces compared here; else a kiosk does both and hands in."""
        return self.reader.source != "none"

    @property
    def own_camera(self) -> Camera:
        """Return the camera that is ours to open: none where a kiosk's own program has it."""
        return self.camera if self.has_desk else self.camera.model_copy(update={"source": "none"})


def named_secrets(config: Config) -> dict[str, Secret]:
    """Return every secret that a configuration names, by its key."""
    found = {
        "platform.org_app_secret": config.platform.org_app_secret,
        "platform.authorization": config.platform.authorization,
        "camera.password": config.camera.password,
        "intake.token": config.intake.token,
        **{f"keys.{name}": getattr(config.keys, name) for name in Keys.model_fields},
    }
    return {name: secret for name, secret in found.items() if secret is not None}
