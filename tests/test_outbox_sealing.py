"""Sealing: both suites, nothing exchangeable, nothing forgeable, keys under keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.catalogue import AgentError
from agent.outbox import sealing
from agent.outbox.sealing import CTR_HMAC, GCM, Key, KeyEncryptionKey

KEY = Key(b"k" * 16, 7)
suites = st.sampled_from([GCM, CTR_HMAC])


@given(st.binary(max_size=300), st.text(max_size=20), suites)
def test_what_is_sealed_comes_back_and_does_not_stand_there(plain: bytes, what: str, suite: int) -> None:
    sealed = sealing.seal(KEY, plain, what, suite)
    assert sealing.unseal(KEY, sealed, what) == plain
    assert sealed[0] == suite
    assert sealing.epoch_of(sealed) == 7
    assert len(plain) < 8 or plain not in sealed


@given(st.binary(min_size=1, max_size=100), suites, st.data())
def test_any_changed_byte_is_noticed(plain: bytes, suite: int, data: st.DataObject) -> None:
    sealed = bytearray(sealing.seal(KEY, plain, "r1|facts|1", suite))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(AgentError, match="E7101"):
        sealing.unseal(KEY, bytes(sealed), "r1|facts|1")


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(AgentError, match="E7101"):
        sealing.unseal(KEY, raw, "r1|facts|1")


@pytest.mark.parametrize("suite", [GCM, CTR_HMAC])
@pytest.mark.parametrize(
    ("key", "what"),
    [
        (KEY, "r2|facts|1"),
        (KEY, "r1|picture:card|1"),
        (Key(b"x" * 16, 7), "r1|facts|1"),
        (Key(b"k" * 16, 8), "r1|facts|1"),
    ],
)
def test_a_row_belongs_to_its_record_its_kind_and_its_key(suite: int, key: Key, what: str) -> None:
    sealed = sealing.seal(KEY, b"facts", "r1|facts|1", suite)
    with pytest.raises(AgentError, match="E7101"):
        sealing.unseal(key, sealed, what)


def test_the_same_plaintext_never_looks_the_same_twice() -> None:
    assert len({sealing.seal(KEY, b"same", "w", suite) for suite in (GCM, CTR_HMAC) for _ in range(20)}) == 40


def test_keys_lie_under_keys_and_a_record_key_under_its_record() -> None:
    kek = KeyEncryptionKey.derived(b"from outside")
    epoch = kek.unwrap(3, kek.wrap(3, b"e" * 16))
    assert epoch == Key(b"e" * 16, 3)
    wrapped = sealing.wrap_record_key(epoch, b"r" * 16, "r1")
    assert sealing.unwrap_record_key(epoch, wrapped, "r1") == Key(b"r" * 16, 3)
    with pytest.raises(AgentError, match="E7101"):
        sealing.unwrap_record_key(epoch, wrapped, "r2")
    with pytest.raises(AgentError, match="E7101"):
        KeyEncryptionKey.derived(b"another").unwrap(3, kek.wrap(3, b"e" * 16))
    assert kek.id != KeyEncryptionKey.derived(b"another").id
    assert "from outside" not in repr(kek)
