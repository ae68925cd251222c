"""What the page shows while an attempt is under way: the newest frame, small, with the face's box."""

from __future__ import annotations

from agent.vision.observe import Seen

WIDTH = 480
QUALITY = 70
_GOOD, _BAD = (90, 200, 60), (40, 120, 250)  # BGR


def preview(seen: Seen) -> bytes:
    """Return a JPEG of at most WIDTH pixels across: a green box round a good face, an orange one else."""
    import cv2

    height, width = seen.frame.image.shape[:2]
    scale = min(1.0, WIDTH / width)
    size = (round(width * scale), round(height * scale))
    small = cv2.resize(seen.frame.image, size, interpolation=cv2.INTER_AREA)
    if seen.box is not None:
        x, y, across, down = (round(value * scale) for value in seen.box)
        cv2.rectangle(small, (x, y), (x + across, y + down), _BAD if seen.reason else _GOOD, 2)
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
