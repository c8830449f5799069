"""The worker node: link to a scheduler, pipeline of engines, aggregation."""
