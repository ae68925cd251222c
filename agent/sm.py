"""SM3, HMAC-SM3 and SM4: OpenSSL where it has them, gmssl where not (loongarch, FIPS builds).

Both back ends give the same bytes; OpenSSL is several hundred times faster. SM4 here is the raw cipher:
padding belongs to whoever defines it. Sources: GB/T 32905-2016, GB/T 32907-2016, GM/T 0042-2015.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import Any, Protocol

from agent.catalogue import AgentError

BLOCK = 16
TAG = 16


class Hash(Protocol):
    """A running SM3."""

    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


class Cipher(Protocol):
    """A running SM4 in one direction; input in whole blocks where the mode works in blocks."""

    def update(self, data: bytes, /) -> bytes: ...

    def finalize(self) -> bytes: ...


class Backend(Protocol):
    """One implementation of all three."""

    name: str
    has_gcm: bool

    def new_sm3(self) -> Hash: ...

    def hmac_sm3(self, key: bytes, message: bytes) -> bytes: ...

    def ecb(self, key: bytes, *, encrypt: bool) -> Cipher: ...

    def ctr(self, key: bytes, nonce: bytes, data: bytes) -> bytes: ...

    def gcm_seal(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes: ...

    def gcm_open(self, key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes: ...


class OpenSSL:
    """hashlib and `cryptography`, both over OpenSSL. Raises what they raise where SM is missing."""

    name = "openssl"
    has_gcm = True

    def __init__(self) -> None:
        # Tried once, so that a build without SM is noticed here and not with a record in hand.
        self.new_sm3()
        self.gcm_seal(bytes(16), bytes(12), b"", b"")

    def new_sm3(self) -> Hash:
        return hashlib.new("sm3")

    def hmac_sm3(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, "sm3")

    def ecb(self, key: bytes, *, encrypt: bool) -> Cipher:
        from cryptography.hazmat.primitives.ciphers import modes

        return _direction(self._cipher(key, modes.ECB()), encrypt=encrypt)  # noqa: S305 -- the platform's mode

    def ctr(self, key: bytes, nonce: bytes, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import modes

        running = self._cipher(key, modes.CTR(nonce)).encryptor()
        return bytes(running.update(data) + running.finalize())

    def gcm_seal(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import modes

        running = self._cipher(key, modes.GCM(nonce)).encryptor()
        running.authenticate_additional_data(aad)
        # Joined once: pictures are megabytes.
        return b"".join((running.update(plaintext), running.finalize(), running.tag))

    def gcm_open(self, key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers import modes

        body, tag = memoryview(sealed)[:-TAG], sealed[-TAG:]
        if len(tag) < TAG:
            raise AgentError("E7101")
        running = self._cipher(key, modes.GCM(nonce, tag)).decryptor()
        running.authenticate_additional_data(aad)
        try:
            plain: bytes = running.update(body)
            running.finalize()  # adds nothing but its word that all of it is genuine
            return plain
        except InvalidTag:
            raise AgentError("E7101") from None

    @staticmethod
    def _cipher(key: bytes, mode: Any) -> Any:
        from cryptography.hazmat.primitives.ciphers import Cipher as OpenSSLCipher
        from cryptography.hazmat.primitives.ciphers.algorithms import SM4

        return OpenSSLCipher(SM4(key), mode)


def _direction(cipher: Any, *, encrypt: bool) -> Cipher:
    running: Cipher = cipher.encryptor() if encrypt else cipher.decryptor()
    return running


class Gmssl:
    """gmssl, pure Python: correct, and slow (some 150 KB/s)."""

    name = "gmssl"
    has_gcm = False

    def new_sm3(self) -> Hash:
        return _GmsslHash()

    def hmac_sm3(self, key: bytes, message: bytes) -> bytes:
        if len(key) > 64:
            key = _sm3(key)
        key = key.ljust(64, b"\0")
        inner = _sm3(bytes(byte ^ 0x36 for byte in key) + message)
        return _sm3(bytes(byte ^ 0x5C for byte in key) + inner)

    def ecb(self, key: bytes, *, encrypt: bool) -> Cipher:
        return _GmsslEcb(key, encrypt=encrypt)

    def ctr(self, key: bytes, nonce: bytes, data: bytes) -> bytes:
        counter, ecb = int.from_bytes(nonce, "big"), self.ecb(key, encrypt=True)
        blocks = range(-(-len(data) // BLOCK))
        stream = b"".join(ecb.update(((counter + i) % 2**128).to_bytes(BLOCK, "big")) for i in blocks)
        return bytes(left ^ right for left, right in zip(data, stream, strict=False))

    def gcm_seal(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        raise AgentError("E7102")

    def gcm_open(self, key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        raise AgentError("E7102")


def _sm3(data: bytes) -> bytes:
    from gmssl import sm3 as gmssl_sm3

    return bytes.fromhex(gmssl_sm3.sm3_hash(list(data)))


class _GmsslHash:
    """gmssl hashes whole messages only, so this one collects."""

    def __init__(self) -> None:
        self._message = bytearray()

    def update(self, data: bytes, /) -> None:
        self._message += data

    def digest(self) -> bytes:
        return _sm3(bytes(self._message))

    def hexdigest(self) -> str:
        return self.digest().hex()


class _GmsslEcb:
    """Single blocks through gmssl's key schedule; its own `crypt_ecb` would add its padding."""

    def __init__(self, key: bytes, *, encrypt: bool) -> None:
        from gmssl.sm4 import SM4_DECRYPT, SM4_ENCRYPT, CryptSM4

        if len(key) != BLOCK:
            raise ValueError("an SM4 key has 16 bytes")
        self._cipher = CryptSM4()
        self._cipher.set_key(key, SM4_ENCRYPT if encrypt else SM4_DECRYPT)

    def update(self, data: bytes, /) -> bytes:
        blocks = (data[i : i + BLOCK] for i in range(0, len(data), BLOCK))
        return b"".join(bytes(self._cipher.one_round(self._cipher.sk, list(block))) for block in blocks)

    def finalize(self) -> bytes:
        return b""


class Mixed(Gmssl):
    """SM3 from hashlib, SM4 from gmssl: where `cryptography` is missing or built without SM4."""

    name = "openssl+gmssl"

    def __init__(self) -> None:
        self.new_sm3()

    def new_sm3(self) -> Hash:
        return hashlib.new("sm3")

    def hmac_sm3(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, "sm3")


@lru_cache(maxsize=1)
def _backend() -> Backend:
    """Return the fastest there is. Any failure to build one counts: missing, disabled, another version."""
    for kind in (OpenSSL, Mixed):
        try:
            return kind()
        except Exception:  # noqa: BLE001, S112 -- what a crippled library raises is its own affair
            continue
    return Gmssl()


def backend() -> str:
    """Return which implementation is in use: "openssl", "openssl+gmssl" or "gmssl"."""
    return _backend().name


def has_gcm() -> bool:
    """Return whether SM4-GCM is there."""
    return _backend().has_gcm


def new_sm3() -> Hash:
    """Return a running SM3."""
    return _backend().new_sm3()


def sm3(data: bytes) -> bytes:
    """Return the 32 bytes of SM3."""
    running = new_sm3()
    running.update(data)
    return running.digest()


def hmac_sm3(key: bytes, message: bytes) -> bytes:
    """Return the 32 bytes of HMAC-SM3."""
    return _backend().hmac_sm3(key, message)


def sm4_ecb_encryptor(key: bytes) -> Cipher:
    """Return a running SM4-ECB encryption; feed whole blocks, there is no padding."""
    return _backend().ecb(key, encrypt=True)


def sm4_ecb_decryptor(key: bytes) -> Cipher:
    """Return a running SM4-ECB decryption; feed whole blocks, padding is left in."""
    return _backend().ecb(key, encrypt=False)


def sm4_ctr(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Return `data` under SM4-CTR with a 16-byte initial counter block; its own inverse."""
    return _backend().ctr(key, nonce, data)


def sm4_gcm_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Return ciphertext and 16-byte tag under a 12-byte nonce that must never repeat for this key."""
    return _backend().gcm_seal(key, nonce, plaintext, aad)


def sm4_gcm_open(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext. AgentError E7101 when key, data or `aad` are not those of the sealing."""
    return _backend().gcm_open(key, nonce, sealed, aad)
