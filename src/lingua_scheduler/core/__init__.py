"""Pure machines: events and the time in, effects out; no clock, no loop, no I/O."""
