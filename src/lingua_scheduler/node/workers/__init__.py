"""Hosts for engines: worker processes, queues, deadlines, replacement; one async API for the pipeline."""
