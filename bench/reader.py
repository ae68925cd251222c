"""`python -m bench.reader`: from the find that answers 9F to the CardRecord, beside the wire's own time.

The simulator paces its answers at the set baud over a real pty; the answers to select and to the reading
are what must come, and nothing comes faster. Above them lie our own waits, decoding, and the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time

from agent.simulate import portraits
from drivers.sdt.reader import SdtReader
from drivers.simulator import cards as deck
from drivers.simulator.faults import Faults
from drivers.simulator.reader import BITS_PER_BYTE, SimulatedReader
from drivers.transport.serial import SerialTransport

#: Answers to select and read.
ANSWER_BYTES = 19 + 1295
MOST = 1.15
#: What the module itself takes: none, and what a real one was seen to take.
DELAYS = {"no delay": Faults(), "a real module's": Faults(find_s=0.03, select_s=0.05, read_s=0.6)}


def measured(baud: int, faults: Faults, count: int) -> list[float]:
    """Return the seconds of each reading."""
    (card,) = deck.generate(1, 1)
    took = []
    with SimulatedReader([card], [portraits.path("collins")], None, faults, baud) as reader:
        line = SerialTransport(reader.port, baud)
        sdt = SdtReader(line, time.monotonic, reader.port, baud)
        for _ in range(count):
            reader.lift()
            reader.place(card)
            while not sdt.find():
                continue
            started = time.perf_counter()
            sdt.select()
            read = sdt.read()
            took.append(time.perf_counter() - started)
            if read.number != card.number:
                raise ValueError("another card came back")
        sdt.close()
    return took


def main() -> None:
    """Measure and print the table of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.reader", description=__doc__)
    parser.add_argument("--count", type=int, default=30)
    options = parser.parse_args()
    print("| baud | module | least ms | measured ms, median | worst | of the least |  |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for baud in (115200, 57600, 9600):
        for name, faults in DELAYS.items():
            count = options.count if baud > 9600 else max(3, options.count // 10)
            took = measured(baud, faults, count)
            least = ANSWER_BYTES * BITS_PER_BYTE / baud + faults.select_s + faults.read_s
            median = statistics.median(took)
            row = [baud, name, *(f"{1000 * one:.1f}" for one in (least, median, max(took)))]
            held = "yes" if median / least <= MOST else "NO"
            print("|", " | ".join(map(str, [*row, f"{median / least:.3f}", f"{held} (<= {MOST})"])), "|")


if __name__ == "__main__":
    main()
