"""The national algorithms against published vectors, through both implementations."""

from __future__ import annotations

import subprocess
import sys

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


# --- the fallback, as a machine without SM in its OpenSSL meets it -----------------------------------------

#: What a build without SM lacks -> which implementation is then in use.
LACKING = {
    "nothing": ("", "openssl"),
    "cryptography is not installed": ("sys.modules['cryptography'] = None", "openssl+gmssl"),
    "no SM3 in hashlib and no cryptography": (
        "sys.modules['cryptography'] = None\n"
        "import hashlib\n"
        "def new(name, *args, **more): raise ValueError('unsupported hash type ' + name)\n"
        "hashlib.new = new",
        "gmssl",
    ),
}
#: The interface's own vectors (docs/platform.md's source, section 5), by the code that is used on the wire.
INTERFACE = """
import json
from agent import sm
from agent.config.schema import Conventions
from agent.hmpt import cipher, signing
from agent.hmpt.body import hashed, of_pieces
from agent.outbox import sealing

print(sm.backend())
hexed = Conventions(cipher_encoding="hex")


def sign(secret, **knobs):
    return signing.sign(Conventions(**knobs), signing.Identity("ORG-TEST-0001", secret, ""), "1718091794408")


def encrypt(plain, key, knobs):
    text = json.loads(b"".join(cipher.encrypted(of_pieces([plain]), key, knobs).chunks()))["data"]
    assert cipher.decrypted(text, key) == plain
    return text


SECRET, LONG = b"Kx7pQ2mZ9sR4tV1w", b"00112233445566778899aabbccddeeff"
assert sign(SECRET) == "34d63f827c987013ce3d8f00b96782c290bbfaee4e027a1a0994586f773b7f2c"
assert sign(LONG) == "ae82b95d49b40d985788c726db1859461ba8f75104398a4a0a8fbabdb00a45ce"
assert sign(LONG, sign_key="hex") == "7a4cd1531e70df9386d695be0a6c848789ea77de4c553478a581bde3f6fd10c2"
assert encrypt('{"realName":"韦某某"}'.encode(), SECRET, Conventions()) == "Z57n4WeB/jw1yD62pnas4HnQQnXn7qzzjUn9ZrBWurg="
assert encrypt(b"0123456789abcdef", SECRET, hexed) == "1f9171599c640521ff4b6bd415a37b39d4257388f16aaa32eaf6f62bbfe3bb1e"
assert encrypt(b"", bytes.fromhex(LONG.decode()), hexed) == "a82679f39b30ef738000b5421e005672"
assert encrypt("test中文".encode(), b"1234567812345678", hexed) == "7c6c77552ae2ed7dbdc1e4bb2bc91726"
assert hashed(of_pieces([b"abc"]), 0)[1] == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
key = sealing.Key(bytes(range(16)), 1)
assert sealing.unseal(key, sealing.seal(key, b"facts", "what"), "what") == b"facts"
"""


@pytest.mark.parametrize("lacking", LACKING)
def test_the_interfaces_vectors_hold_whatever_the_machine_lacks(lacking: str) -> None:
    cripple, expected = LACKING[lacking]
    program = f"import sys\n{cripple}\n{INTERFACE}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip() == expected
