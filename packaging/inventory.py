"""What is inside: a bill of materials (CycloneDX) and every licence, for one tree.

The bill is cyclonedx-py's, which reads the installed packages themselves; the face models and an interpreter
that comes along, which are no packages, are added to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from email.parser import Parser
from pathlib import Path

from releases import Target

LICENCES = ("LICEN[CS]E*", "COPYING*", "NOTICE*", "AUTHORS*", "licenses", "license_files")
COPYRIGHT = """\
kiosk-agent itself: proprietary; see the contract under which it was delivered.

The package brings face models and the third-party software named below, each under its own licence; the
texts are in licenses/, the versions in sbom.cdx.json.

"""


def write(program: Path, folder: Path, target: Target) -> None:
    """Write sbom.cdx.json, licenses/ and copyright for the tree `program` into `folder`."""
    (packages,) = program.glob("lib/python*/site-packages")
    extra = [_model(path) for path in sorted((program / "share/kiosk-agent/weights").glob("*.onnx"))]
    names = _licences(packages, folder / "licenses")
    if target.sha256 is not None:
        interpreter = program / "python"
        version = _python_version(interpreter)
        extra.append(_python(version, target.sha256))
        names.append(f"CPython {version}: PSF-2.0")
        _python_licences(interpreter, folder / "licenses/CPython")
    _bill(packages, extra, folder / "sbom.cdx.json", target)
    models = folder / "licenses/face-models"
    models.mkdir(parents=True)
    for licence in (program / "share/kiosk-agent/weights").glob("LICENSE.*"):
        shutil.copy(licence, models / licence.name)
    (folder / "copyright").write_text(COPYRIGHT + "\n".join(names) + "\n", "utf-8")


def _bill(packages: Path, extra: list[dict[str, object]], place: Path, target: Target) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    command = [_lister(), "-m", "cyclonedx_py", "environment", "--output-reproducible", "--sv", "1.6"]
    # The packages' folder stands in for an interpreter: cyclonedx-py asks one for its path, nothing else.
    asked = place.parent / "ask-path"
    asked.write_text(f"#!/bin/sh\necho '{json.dumps([str(packages)])}'\n", "utf-8")
    asked.chmod(0o755)
    try:
        subprocess.run([*command, "--output-file", str(place), str(asked)], check=True)
    finally:
        asked.unlink()
    bill = json.loads(place.read_text("utf-8"))
    of = {"architecture": target.arch, "release": target.release}
    bill["metadata"]["component"] = {
        "type": "application",
        "name": "kiosk-agent",
        "version": target.full_version,
        "bom-ref": "kiosk-agent",
        # Which of the wheels of one version are meant.
        "properties": [{"name": f"kiosk-agent:{key}", "value": value} for key, value in of.items()],
    }
    bill["components"] += extra
    place.write_text(json.dumps(bill, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _lister() -> str:
    """Return the interpreter that has cyclonedx-py: that of `make`'s environment for it, else this one."""
    apart = Path(sys.prefix) / "tools/bin/python"
    return str(apart) if apart.exists() else sys.executable


def _model(path: Path) -> dict[str, object]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    kind = "MIT" if "yunet" in path.name else "Apache-2.0"
    return {
        "type": "machine-learning-model",
        "name": path.name,
        "bom-ref": f"model:{path.name}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"id": kind}}],
    }


def _python(version: str, digest: str) -> dict[str, object]:
    return {
        "type": "platform",
        "name": "CPython",
        "version": version,
        "bom-ref": "CPython",
        "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        # Of the archive that was named to the build; who made it is known to whoever named it.
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"id": "PSF-2.0"}}],
    }


def _python_version(interpreter: Path) -> str:
    """Return the interpreter's version out of its own bytes: it may be for a machine that this one is not."""
    minor = "{}.{}".format(*sys.version_info)
    # A linker may have laid it onto the end of a longer text.
    told = re.compile(rb"(?<![\d.])(" + re.escape(minor.encode()) + rb"\.\d+)\+?\0")
    for file in [*interpreter.glob("lib/libpython*.so.*"), interpreter / f"bin/python{minor}"]:
        if found := told.search(file.read_bytes()):
            return found[1].decode()
    return minor


def _python_licences(interpreter: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for pattern in ("LICENSE*", "licenses/*", "lib/python*/LICENSE*"):
        for text in interpreter.glob(pattern):
            shutil.copy(text, folder / text.name)


def _licences(packages: Path, folder: Path) -> list[str]:
    """Copy the licence texts that each package brings. Return a line for each package."""
    lines = []
    for info in sorted(packages.glob("*.dist-info")):
        said = Parser().parsestr((info / "METADATA").read_text("utf-8"), headersonly=True)
        name, version = said["Name"], said["Version"]
        licence = (
            said["License-Expression"] or _short(said["License"]) or _classified(said.get_all("Classifier"))
        )
        texts = [text for pattern in LICENCES for text in info.glob(pattern)]
        for text in texts:
            place = folder / name / text.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if text.is_dir():
                shutil.copytree(text, place, dirs_exist_ok=True)
            else:
                shutil.copy(text, place)
        lines.append(f"{name} {version}: {licence or 'see its home page'}")
    for path, _, files in os.walk(folder):
        Path(path).chmod(0o755)
        for file in files:
            Path(path, file).chmod(0o644)
    return lines


def _short(licence: str | None) -> str:
    line = (licence or "").strip().splitlines()[:1]
    return line[0] if line and len(line[0]) < 60 else ""


def _classified(classifiers: list[str] | None) -> str:
    found = [line.rsplit(" :: ", 1)[1] for line in classifiers or [] if line.startswith("License ::")]
    return ", ".join(found)
