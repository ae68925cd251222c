"""Sealing at rest: every row of personal data under its record's own key, and keys under keys.

    key-encryption key (outside the database)
      wraps epoch keys (table epoch_key)
        wrap record keys (record.wrapped_key)
          seal facts, each picture, each supplement

    sealed row:  suite | epoch key id, 4 bytes | nonce | ciphertext | tag

Suite 1 is SM4-GCM (nonce 12, tag 16); suite 2, for crypto libraries without GCM, is SM4-CTR with
HMAC-SM3 over everything before the tag (nonce 16, tag 32; encrypt-then-MAC). Both are always readable
where the library can. What a row is, and whose, is authenticated with it, so that rows cannot be
exchanged. Deleting the wrapped record key is the deletion that counts.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass, field

from agent import sm
from agent.catalogue import AgentError

KEY_BYTES = 16
GCM, CTR_HMAC = 1, 2
_HEAD = struct.Struct(">BI")
_NONCE = {GCM: 12, CTR_HMAC: 16}
_TAG = {GCM: 16, CTR_HMAC: 32}


@dataclass(frozen=True)
class Key:
    """A sealing key and the id of the epoch key that it is, or is wrapped by."""

    secret: bytes = field(repr=False)
    epoch: int


def new_secret() -> bytes:
    """Return a fresh 128-bit key."""
    return os.urandom(KEY_BYTES)


def default_suite() -> int:
    """Return the suite that new rows are sealed with here."""
    return GCM if sm.has_gcm() else CTR_HMAC


def seal(key: Key, plaintext: bytes, what: str, suite: int | None = None) -> bytes:
    """Return the sealed row; `what` names record, kind and schema and is authenticated with it."""
    suite = default_suite() if suite is None else suite
    head = _HEAD.pack(suite, key.epoch)
    nonce = os.urandom(_NONCE[suite])
    aad = _aad(head, what)
    if suite == GCM:
        return head + nonce + sm.sm4_gcm_seal(key.secret, nonce, plaintext, aad)
    body = head + nonce + sm.sm4_ctr(_derived(key.secret, b"enc")[:KEY_BYTES], nonce, plaintext)
    return body + sm.hmac_sm3(_derived(key.secret, b"mac"), aad + body)


def unseal(key: Key, sealed: bytes, what: str) -> bytes:
    """Return the plaintext. AgentError E7101 when row, key or `what` do not belong together."""
    if len(sealed) < _HEAD.size:
        raise AgentError("E7101")
    suite, epoch = _HEAD.unpack_from(sealed)
    if suite not in _NONCE or epoch != key.epoch or len(sealed) < _HEAD.size + _NONCE[suite] + _TAG[suite]:
        raise AgentError("E7101")
    aad = _aad(sealed[: _HEAD.size], what)
    start = _HEAD.size + _NONCE[suite]
    nonce = sealed[_HEAD.size : start]
    if suite == GCM:
        return sm.sm4_gcm_open(key.secret, nonce, sealed[start:], aad)
    body, tag = sealed[: -_TAG[suite]], sealed[-_TAG[suite] :]
    if not hmac.compare_digest(tag, sm.hmac_sm3(_derived(key.secret, b"mac"), aad + body)):
        raise AgentError("E7101")
    return sm.sm4_ctr(_derived(key.secret, b"enc")[:KEY_BYTES], nonce, body[start:])


def epoch_of(sealed: bytes) -> int:
    """Return the id of the epoch key a row names. AgentError E7101 for something that is no sealed row."""
    if len(sealed) < _HEAD.size:
        raise AgentError("E7101")
    epoch: int = _HEAD.unpack_from(sealed)[1]
    return epoch


@dataclass(frozen=True)
class KeyEncryptionKey:
    """The key from outside; `id` can be shown, it does not help to find the key."""

    secret: bytes = field(repr=False)
    id: str

    @classmethod
    def derived(cls, seal_key: bytes) -> KeyEncryptionKey:
        """Return the key-encryption key of the configured sealing key."""
        return cls(_derived(seal_key, b"kek")[:KEY_BYTES], _derived(seal_key, b"kek id")[:4].hex())

    def wrap(self, epoch: int, secret: bytes) -> bytes:
        """Return an epoch key under this key."""
        return seal(Key(self.secret, epoch), secret, "epoch key")

    def unwrap(self, epoch: int, wrapped: bytes) -> Key:
        """Return the epoch key. AgentError E7101 when it was wrapped by another key."""
        return Key(unseal(Key(self.secret, epoch), wrapped, "epoch key"), epoch)


def wrap_record_key(epoch_key: Key, secret: bytes, record: str) -> bytes:
    """Return a record key under an epoch key, bound to the record's id."""
    return seal(epoch_key, secret, f"record key|{record}")


def unwrap_record_key(epoch_key: Key, wrapped: bytes, record: str) -> Key:
    """Return a record's key. AgentError E7101 when it belongs to another record or epoch."""
    return Key(unseal(epoch_key, wrapped, f"record key|{record}"), epoch_key.epoch)


def _aad(head: bytes, what: str) -> bytes:
    return head + what.encode()


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return sm.hmac_sm3(secret, b"kiosk-agent " + purpose)
