"""The `lingua` command: one file per sub-command."""
