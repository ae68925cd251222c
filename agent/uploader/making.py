"""From a claim to a request: which conventions, which pictures, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.catalogue import AgentError
from agent.config.schema import Config, Conventions
from agent.hmpt import checks
from agent.hmpt.client import PlatformClient
from agent.hmpt.conventions import fingerprint
from agent.outbox import Claim
from agent.records import PictureKind, Verification
from agent.uploader.ahead import Made
from agent.vision.pictures import PASSING
from drivers.errors import PhotoError

#: Of the bytes of each picture, once something on the way found the body too large.
SMALLER = 0.4
#: A picture below this is not made smaller: the face in it would be of no use to anybody.
LEAST_BYTES = 20_000
#: Belong to an attempt or to its answer, not to the body: never kept from an earlier attempt.
OF_THE_ATTEMPT = (
    *("sign_encoding", "sign_key", "sign_template", "time_format", "content_type"),
    *("verify_answer", "answer_time", "decrypt_answer"),
)
_WANTED = (PictureKind.CARD, PictureKind.CAMERA, PictureKind.FINGER)


#: `vision.pictures.Pictures.smaller`: a picture and the share of its bytes that it is to have.
Smaller = Callable[[bytes, float], bytes]


class Maker:
    """Makes requests. `good`: fingerprints of conventions under which the platform took records."""

    def __init__(self, client: PlatformClient, good: Callable[[], Sequence[str]], smaller: Smaller) -> None:
        self._client, self._good, self._smaller = client, good, smaller

    def make(self, claim: Claim, config: Config) -> Made:
        """Return the request of a claim, or the problems that keep it from being sent.

        AgentError E2307, E2308 when its pictures cannot be made smaller just now.
        """
        conventions = self._conventions(claim, config)
        pictures = sent_pictures(claim, self._smaller)
        problems = tuple(self._client.problems(claim.verification, pictures, conventions))
        prepared = None if problems else self._client.prepare(claim.verification, pictures, conventions)
        return Made(conventions, problems, prepared)

    def oddities(self, claim: Claim, config: Config) -> list[str]:
        """Return what of a refused record the tables leave in doubt, for the person who looks at it."""
        return checks.oddities(claim.verification, self._conventions(claim, config))

    def _conventions(self, claim: Claim, config: Config) -> Conventions:
        """Return today's conventions, or those of an attempt whose answer is not known.

        Should the platform have that attempt, the same body must come again. But only if it ever took a
        record in that form: what was never understood is no reason to go on not being understood.
        """
        today = config.platform.conventions
        if claim.kept_conventions is None:
            return today
        try:
            kept = Conventions.model_validate_json(claim.kept_conventions)
        except ValueError:
            return today  # of another version, which had other keys
        if fingerprint(kept, encrypt=config.platform.encrypt) not in self._good():
            return today
        return kept.model_copy(update={name: getattr(today, name) for name in OF_THE_ATTEMPT})


def device_name(verification: Verification) -> str:
    """Return how a device is named to people and in the judgement."""
    return f"{verification.machine_code}/{verification.device_no}"


def sent_pictures(claim: Claim, smaller: Smaller) -> dict[PictureKind, bytes]:
    """Return the pictures that are sent; the raw photo block is not one of them."""
    found = {kind: claim.picture(kind) for kind in _WANTED}
    there = {kind: picture for kind, picture in found.items() if picture is not None}
    if not claim.too_large:
        return there
    return {kind: shrunk(picture, smaller) for kind, picture in there.items()}


def shrunk(picture: bytes, smaller: Smaller) -> bytes:
    """Return a smaller picture, always the same of the same: made at each attempt, kept nowhere.

    The original stays what camera and chip said; the attempt's SM3 proves which bytes went out.
    """
    if len(picture) <= LEAST_BYTES:
        return picture
    try:
        return smaller(picture, max(SMALLER, LEAST_BYTES / len(picture)))
    except PhotoError:
        return picture
    except AgentError as error:
        # Sent as it is it would be refused for good, for no fault of its own.
        if error.code in PASSING:
            raise
        return picture
