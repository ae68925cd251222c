"""The power-cut harness: a journal of a real run, every cut enumerated offline, the real code opens the rest.

`journal.c` is preloaded into `workload`, which lives through a kiosk's year in a second: migration, records,
answers, supplements, corrections, erasing, vacuum, ballast, new keys, restarts. `cuts` replays the journal and
cuts anywhere: what was not synced is lost, torn by sectors or reordered; names follow in their order, as every
journalling file system does. `judge` opens each different image of the disk once, with the agent's own code (`haste`: what
makes that quick), and holds every cut against what had been acknowledged by then.
"""
