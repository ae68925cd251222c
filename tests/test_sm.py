"""The national algorithms against published vectors, through both implementations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import sm
from agent.catalogue import AgentError

BACKENDS: list[sm.Backend] = [sm.OpenSSL(), sm.Gmssl()]
both = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: str(backend.name))

# GB/T 32905-2016, appendix A.
SM3 = [
    (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
    (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
]
# GM/T 0042-2015 D.3, and values that public implementations publish.
HMAC = [
    (
        bytes(range(1, 0x21)),
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq" * 2,
        "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a",
    ),
    (
        bytes(range(1, 0x26)),
        b"\xcd" * 50,
        "220bf579ded555393f0159f66c99877822a3ecf610d1552154b41d44b94db3ae",
    ),
    (b"\x0b" * 32, b"Hi There", "c0ba18c68b90c88bc07de794bfc7d2c8d19ec31ed8773bc2b390c9604e0be11e"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "2e87f1d16862e6d964b50a5200bf2b10b764faa9680a296a2405f24bec39f882",
    ),
    (
        b"password",
        "test中文".encode(),
        "493e3f9a1896b43075fbe54658076727960d69632ac6b6ed932195857a6840c6",
    ),
    (b"k" * 100, b"abc", "2d87dd3ffa1452e8e40d9123a02824fb7dd98ae4a52683287245f1736dc610ef"),
]
# GB/T 32907-2016, appendix A: key = plaintext.
SM4_BLOCK = bytes.fromhex("0123456789abcdeffedcba9876543210")
SM4_CIPHER = bytes.fromhex("681edf34d206965e86b3e94f536e4246")
# RFC 8998, A.1.
GCM_KEY = SM4_BLOCK
GCM_NONCE = bytes.fromhex("00001234567800000000abcd")
GCM_AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_PLAIN = bytes.fromhex(
    "aa" * 8 + "bb" * 8 + "cc" * 8 + "dd" * 8 + "ee" * 8 + "ff" * 8 + "ee" * 8 + "aa" * 8
)
GCM_SEALED = bytes.fromhex(
    "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
    "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
    "83de3541e4c2b58177e065a9bf7b62ec"
)


@both
@pytest.mark.parametrize(("message", "expected"), SM3)
def test_sm3_vectors(backend: sm.Backend, message: bytes, expected: str) -> None:
    running = backend.new_sm3()
    for byte in message:
        running.update(bytes([byte]))
    assert running.hexdigest() == running.digest().hex() == expected


@both
@pytest.mark.parametrize(("key", "message", "expected"), HMAC)
def test_hmac_sm3_vectors(backend: sm.Backend, key: bytes, message: bytes, expected: str) -> None:
    assert backend.hmac_sm3(key, message).hex() == expected


@both
def test_sm4_block_vector_both_ways(backend: sm.Backend) -> None:
    assert backend.ecb(SM4_BLOCK, encrypt=True).update(SM4_BLOCK) == SM4_CIPHER
    assert backend.ecb(SM4_BLOCK, encrypt=False).update(SM4_CIPHER) == SM4_BLOCK


def test_sm4_gcm_vector_of_rfc_8998() -> None:
    assert sm.OpenSSL().gcm_seal(GCM_KEY, GCM_NONCE, GCM_PLAIN, GCM_AAD) == GCM_SEALED
    assert sm.OpenSSL().gcm_open(GCM_KEY, GCM_NONCE, GCM_SEALED, GCM_AAD) == GCM_PLAIN


@pytest.mark.parametrize("place", [0, 30, len(GCM_SEALED) - 1])
def test_a_changed_byte_is_noticed(place: int) -> None:
    changed = bytearray(GCM_SEALED)
    changed[place] ^= 1
    with pytest.raises(AgentError, match="E7101"):
        sm.OpenSSL().gcm_open(GCM_KEY, GCM_NONCE, bytes(changed), GCM_AAD)


def test_something_too_short_to_be_sealed_is_refused_like_a_changed_one() -> None:
    with pytest.raises(AgentError, match="E7101"):
        sm.OpenSSL().gcm_open(GCM_KEY, GCM_NONCE, b"short", GCM_AAD)


def test_gmssl_says_that_it_has_no_gcm() -> None:
    with pytest.raises(AgentError, match="E7102"):
        sm.Gmssl().gcm_seal(GCM_KEY, GCM_NONCE, b"", b"")


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.binary(max_size=70))
def test_both_implementations_agree(key: bytes, nonce: bytes, data: bytes) -> None:
    openssl, gmssl = BACKENDS
    assert openssl.ctr(key, nonce, data) == gmssl.ctr(key, nonce, data)
    assert openssl.hmac_sm3(key, data) == gmssl.hmac_sm3(key, data)
    assert gmssl.ctr(key, nonce, gmssl.ctr(key, nonce, data)) == data
