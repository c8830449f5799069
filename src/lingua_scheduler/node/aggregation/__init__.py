"""What a node joins together, decided on plain values: audio into batches, texts into utterances."""
