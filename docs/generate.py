"""`make docs`: what is made from schema and catalogue - the example configuration and two pages."""

from __future__ import annotations

from pathlib import Path

from agent.config.writing import config_file, reference
from agent.live import reloadable
from agent.ops.pages import codes

ROOT = Path(__file__).parent.parent


def pages() -> dict[str, str]:
    """Return every generated file by its path in the repository."""
    return {
        "config.example.yaml": config_file(example=True),
        "docs/zh/configuration.md": reference(reloadable),
        "docs/zh/codes.md": codes(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        path = ROOT / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
