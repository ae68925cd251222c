"""Camera and face engine in a child process: a hanging driver or a crash in OpenCV costs one attempt.

`process.Vision` is the parent's side, `pictures.Pictures` that of another child, for pictures from elsewhere.
They speak length-prefixed messages over a child's standard input and output; pictures and the camera's
password never touch a disk, a command line or the environment.
"""

from __future__ import annotations
