"""Why frames were not good enough or no comparison was possible: reason -> code of its sentence.

The reason is what records and programs keep; the sentence is what the registrar reads aloud.
"""

from __future__ import annotations

SENTENCES = {
    "no_face": "W2411",
    "several_people": "W2412",
    "too_far": "W2413",
    "off_frame": "W2414",
    "turned": "W2415",
    "dark": "W2416",
    "over_exposed": "W2417",
    "blurred": "W2418",
    "frames_disagree": "W2419",
    "few_frames": "W2420",
    "photo_undecoded": "W2421",
    "card_no_face": "W2422",
    "engine_none": "W2423",
    "engine_missing": "W2424",
    "camera_missing": "E2401",
    "too_late": "E2403",
    "below_threshold": "W2001",
}


def sentence(reason: str) -> str:
    """Return the code for a reason, "" for none."""
    return SENTENCES.get(reason, "")
