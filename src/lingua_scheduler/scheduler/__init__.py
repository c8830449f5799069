"""The shells around the machines of one scheduler instance, and their composition root."""
