"""Files under a passphrase: the keys' backup, and the export that moves a kiosk PC's records.

    magic line | header, one line of JSON | pieces: 4 bytes of length, then the sealed piece

The key comes from the passphrase by scrypt; each piece is sealed (agent.outbox.sealing) under a label that
holds the file's salt and the piece's number, the last one under a label of its own. So a file that was cut
off, shuffled or spliced does not open.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from agent.catalogue import AgentError
from agent.keys import sync_folder
from agent.outbox import sealing

MAGIC = b"kiosk-agent sealed file 1\n"
#: About 64 MiB and a quarter of a second for each guess (RFC 7914).
SCRYPT = {"n": 2**16, "r": 8, "p": 1}
MIN_CHARS = 12
#: A record of three pictures at the platform's bound is 7 MB.
MAX_PIECE = 32 * 2**20
#: Written since the last time: then it goes to the disk, or `close` would wait minutes for a slow stick.
SYNC_BYTES = 16 * 2**20
_LENGTH = struct.Struct(">I")


def check(passphrase: str) -> None:
    """Raise E7206 for a passphrase that is too short to protect anything."""
    if len(passphrase) < MIN_CHARS:
        raise AgentError("E7206", minimum=MIN_CHARS)


def derived(passphrase: str, salt: bytes) -> bytes:
    """Return the 128-bit key of a passphrase."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    # A file may hold any bytes: they are taken as they are.
    secret = passphrase.encode("utf-8", "surrogateescape")
    return Scrypt(salt=salt, length=sealing.KEY_BYTES, **SCRYPT).derive(secret)


def label(purpose: str, salt: bytes, number: int | str) -> str:
    """Return what a piece is, authenticated with it."""
    return f"{purpose}|{salt.hex()}|{number}"


class Writer:
    """Writes one sealed file; `close` makes it whole and durable. Until then it opens for nobody."""

    def __init__(self, path: Path, purpose: str, key: bytes, salt: bytes) -> None:
        self._path, self._purpose, self._salt = path, purpose, salt
        self._key = sealing.Key(key, 0)
        self._number = self._unsynced = 0
        try:
            self._file: BinaryIO = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        except FileExistsError as error:
            raise AgentError("E8316", path=path) from error
        except OSError as error:
            raise AgentError("E8308", path=path, reason=error.strerror) from error
        header = {"purpose": purpose, "salt": salt.hex(), "kdf": "scrypt", **SCRYPT}
        self._file.write(MAGIC + json.dumps(header).encode() + b"\n")

    def add_sealed(self, piece: bytes) -> None:
        """Add a piece that its owner sealed under `label(purpose, salt, number)`."""
        try:
            self._file.write(_LENGTH.pack(len(piece)) + piece)
            self._unsynced += len(piece)
            if self._unsynced >= SYNC_BYTES:
                self._sync()
        except OSError as error:
            raise AgentError("E8308", path=self._path, reason=error.strerror) from error
        self._number += 1

    def add(self, plain: bytes) -> None:
        """Seal a piece and add it."""
        self.add_sealed(sealing.seal(self._key, plain, label(self._purpose, self._salt, self._number)))

    def close(self) -> None:
        """Write the end, and return when the file is on the disk."""
        end = str(self._number).encode()
        self.add_sealed(sealing.seal(self._key, end, label(self._purpose, self._salt, "end")))
        try:
            self._sync()
            self._file.close()
            sync_folder(self._path.parent)
        except OSError as error:
            raise AgentError("E8308", path=self._path, reason=error.strerror) from error

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def abandon(self) -> None:
        """Take an unfinished file away."""
        with contextlib.suppress(OSError):  # what did not fit is tried once more, and must not hide the error
            self._file.close()
        self._path.unlink(missing_ok=True)


class Reader:
    """Reads one sealed file. AgentError E7207: it is none, cut off or altered, or the passphrase is wrong."""

    def __init__(self, path: Path, purpose: str) -> None:
        self.path, self._purpose = path, purpose
        try:
            with path.open("rb") as file:
                if file.readline(len(MAGIC)) != MAGIC:
                    raise AgentError("E7207", path=path)
                header = json.loads(file.readline(1000))
                self._start = file.tell()
            self.salt = bytes.fromhex(header["salt"])
            if header["purpose"] != purpose or {name: header[name] for name in SCRYPT} != SCRYPT:
                raise AgentError("E7207", path=path)
        except OSError as error:
            raise AgentError("E8308", path=path, reason=error.strerror) from error
        except (ValueError, KeyError, TypeError):
            raise AgentError("E7207", path=path) from None

    def sealed(self) -> Iterator[bytes]:
        """Yield every piece as it is, the end included."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            while head := file.read(_LENGTH.size):
                if len(head) < _LENGTH.size or _LENGTH.unpack(head)[0] > MAX_PIECE:
                    raise AgentError("E7207", path=self.path)
                piece = file.read(_LENGTH.unpack(head)[0])
                if len(piece) < _LENGTH.unpack(head)[0]:
                    raise AgentError("E7207", path=self.path)
                yield piece

    def verify(self, key: bytes) -> int:
        """Open every piece and the end once. Return how many pieces there are, the end aside."""
        count, ended = 0, False
        for plain in self._opened(key):
            ended = plain is None
            count += 0 if ended else 1
        if not ended:
            raise AgentError("E7207", path=self.path)
        return count

    def pieces(self, key: bytes) -> Iterator[bytes]:
        """Yield every piece in plain."""
        return (plain for plain in self._opened(key) if plain is not None)

    def _opened(self, key: bytes) -> Iterator[bytes | None]:
        """Yield the pieces, then None for an end that fits them."""
        opener = sealing.Key(key, 0)
        number, ended = 0, False
        for piece in self.sealed():
            if ended:
                raise AgentError("E7207", path=self.path)
            try:
                yield sealing.unseal(opener, piece, label(self._purpose, self.salt, number))
                number += 1
            except AgentError:
                ended = self._is_end(opener, piece, number)
                yield None

    def _is_end(self, opener: sealing.Key, piece: bytes, number: int) -> bool:
        try:
            end = sealing.unseal(opener, piece, label(self._purpose, self.salt, "end"))
        except AgentError:
            raise AgentError("E7207", path=self.path) from None
        if end != str(number).encode():
            raise AgentError("E7207", path=self.path)
        return True
