"""How fast the outbox is, as a ratio to what the disk itself can do in the same run. `make bench`."""
