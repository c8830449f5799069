"""The load tool: paced clients and fake nodes against the real scheduler, and the floors it is compared with."""
