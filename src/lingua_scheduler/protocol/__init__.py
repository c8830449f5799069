"""The words on the wire: ids, audio arithmetic, messages, errors and their encodings. Imports nothing else of ours."""
