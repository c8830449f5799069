"""One node's connection: registration, liveness, status."""
