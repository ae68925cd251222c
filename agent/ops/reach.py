"""What `doctor` looks at on the way to the platform: name, line, certificate, clock, signature."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import ssl
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from agent.clock import Clock, signed
from agent.config.schema import Config
from agent.hmpt.allotted import identity
from agent.hmpt.client import PlatformClient
from agent.ops.checking import Found
from agent.records import Delivered

CONNECT_S = 3.0
ANSWER_S = 4.0
#: What the two ends may differ by before signatures are at risk.
SKEW_S = 60.0


class Way:
    """The way to one platform, directly or through the configured proxy."""

    def __init__(self, config: Config) -> None:
        self._platform = config.platform
        self._config = config
        first = urlsplit(self._platform.proxy or self._platform.base_url)
        self.host = first.hostname or ""
        self.port = first.port or (443 if first.scheme == "https" else 80)

    def name(self) -> Found:
        """Say whether the host's name is known."""
        if _is_address(self.host):
            return None, {"host": self.host}
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            return "E4120", {"host": self.host}
        return None, {"host": self.host, "address": found[0][4][0]}

    def line(self) -> Found:
        """Say whether a connection comes about."""
        where = {"to": f"{self.host}:{self.port}"}
        try:
            with socket.create_connection((self.host, self.port), CONNECT_S):
                return None, where
        except TimeoutError:
            return "E4102", {**where, "detail": where["to"]}
        except OSError as error:
            detail = f"{where['to']}: {error.strerror or type(error).__name__}"
            return "E4107" if self._platform.proxy else "E4101", {**where, "detail": detail}

    def certificate(self) -> Found:
        """Say whether the platform's certificate verifies, and who issued it."""
        if not self._platform.base_url.startswith("https:"):
            return None, {"tls": "none"}
        if self._platform.proxy:
            return None, {"tls": "through the proxy"}
        context = ssl.create_default_context(cafile=self._platform.ca_file)
        try:
            issuer = self._issuer(context)
        except ssl.SSLCertVerificationError as error:
            return "E4103", {"detail": f"{error.verify_message}; issuer {self._unverified_issuer()}"}
        except OSError as error:
            return "E4103", {"detail": type(error).__name__}
        return None, {"issuer": issuer}

    def _issuer(self, context: ssl.SSLContext) -> str:
        from cryptography import x509

        with socket.create_connection((self.host, self.port), CONNECT_S) as plain:
            plain.settimeout(CONNECT_S)
            with context.wrap_socket(plain, server_hostname=self.host) as secure:
                der = secure.getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der).issuer.rfc4514_string() if der else "?"

    def _unverified_issuer(self) -> str:
        """Return who issued a certificate that does not verify: whoever intercepts names himself here."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            return self._issuer(context)
        except (OSError, ValueError):
            return "?"

    def clock(self, clock: Clock) -> Found:
        """Say how far our clock is from the platform's. Nothing but the answer's date is looked at."""
        session = requests.Session()
        session.trust_env = False
        proxy = self._platform.proxy
        before = clock.now()
        with (
            session,
            session.head(
                self._platform.base_url,
                timeout=(CONNECT_S, ANSWER_S),
                allow_redirects=False,
                proxies={"http": proxy, "https": proxy} if proxy else {},
                verify=self._platform.ca_file or True,
            ) as answer,
        ):
            middle = before + (clock.now() - before) / 2
        theirs = answer.headers.get("Date")
        if theirs is None:
            return None, {"date": "none"}
        # A date has whole seconds: half of one is the best guess of the rest.
        return _skew(middle - parsedate_to_datetime(theirs) - timedelta(seconds=0.5))

    def signature(self, clock: Clock, status: int) -> Found:
        """Say whether the platform takes our signature.

        The device registers, as the daemon would at its start; "already registered" is as good a proof. Where
        the site forbids that, nothing is sent. `status` is the device's own, of table 4.1.
        """
        if self._platform.register_ == "never":
            return None, {"sent": "nothing, platform.register is never"}
        impatient = self._platform.model_copy(
            update={"connect_timeout_s": CONNECT_S, "answer_timeout_s": ANSWER_S}
        )
        config = self._config.model_copy(update={"platform": impatient})
        client = PlatformClient(lambda: config, identity(config), clock)
        try:
            outcome = client.register(config.device, secrets.token_hex(16), status=status)
        finally:
            client.close()
        if isinstance(outcome, Delivered):
            return None, {"device": config.device.device_no}
        return outcome.code, {"detail": getattr(outcome, "detail", "") or getattr(outcome, "message", "")}


def _skew(ours_ahead: timedelta) -> Found:
    seconds = ours_ahead.total_seconds()
    return "W7501" if abs(seconds) > SKEW_S else None, {"seconds": signed(seconds)}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
