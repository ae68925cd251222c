"""What `make bench` measures still runs: a record through each of our own queues, the drain with a few."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.records import PictureKind
from bench import upload
from bench.queues import QUEUES, Queue, Sealed, Storage

OURS = [name for name, queue in QUEUES.items() if issubclass(queue, (Storage, Sealed))]


@pytest.mark.parametrize("name", OURS)
def test_our_queues_take_give_and_finish_a_record(tmp_path: Path, name: str) -> None:
    payload = os.urandom(2000)
    made = QUEUES[name]
    queue: Queue = made(tmp_path)
    try:
        queue.fill(payload, 2)
        queue.begin()
        queue.put(payload)
        for _ in range(3):
            assert queue.take()[:1000] == payload[:1000]
            queue.done()
        queue.clean()
    finally:
        queue.close()


def test_the_drain_comes_to_its_end(tmp_path: Path) -> None:
    pictures = {kind: upload.picture(5000) for kind in (PictureKind.CARD, PictureKind.CAMERA)}
    with upload.sink() as url:
        upload.fill(tmp_path, 4, pictures)
        assert upload.drain(tmp_path, url, 4) > 0
