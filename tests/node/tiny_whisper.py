"""A Whisper model of random weights in CTranslate2's own format, 4 MB, made in a moment: the real path of loading.

It has the vocabulary of the multilingual models (special tokens at their real ids), so languages, tasks and prompts
are asked for as they are of a real one; what it answers means nothing, but is always the same.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from faster_whisper.tokenizer import _LANGUAGE_CODES
from tokenizers import Tokenizer, decoders, models

_WIDTH, _FEED_FORWARD, _MELS, _HEADS = 16, 32, 80, 2
_TEXT_TOKENS = 50_257
_TASKS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>")


def make_tiny_whisper(folder: Path) -> Path:
    """Writes the model's files into `folder`."""
    tokens = _vocabulary()
    spec = WhisperSpec(1, _HEADS, 1, _HEADS)
    _fill(spec, len(tokens), np.random.default_rng(5))
    spec.register_vocabulary(tokens)
    language_ids = [index for index, token in enumerate(tokens) if token[2:-2] in _LANGUAGE_CODES and "<|" in token]
    config: Any = spec.config
    config.lang_ids = language_ids
    config.suppress_ids = []
    config.suppress_ids_begin = []
    config.alignment_heads = [(0, 0)]
    spec.validate()
    spec.optimize(quantization=None)
    spec.save(str(folder))
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=tokens[0]))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    assert json.loads((folder / "config.json").read_text())["lang_ids"] == language_ids
    return folder


def _vocabulary() -> list[str]:
    languages = [f"<|{code}|>" for code in _LANGUAGE_CODES if code != "yue"]
    times = [f"<|{n * 0.02:.2f}|>" for n in range(1501)]
    # An empty token just before the special ones is what CTranslate2 knows a multilingual vocabulary by.
    text = [*(f" word{n}" for n in range(_TEXT_TOKENS - 1)), ""]
    return [*text, "<|endoftext|>", "<|startoftranscript|>", *languages, *_TASKS, *times]


def _fill(spec: WhisperSpec, vocabulary: int, rng: np.random.Generator) -> None:
    def weights(*shape: int) -> Any:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    def linear(layer: Any, inputs: int, outputs: int) -> None:
        layer.weight, layer.bias = weights(outputs, inputs), weights(outputs)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32)

    def attention(layer: Any, *, own: bool) -> None:
        norm(layer.layer_norm)
        for part, outputs in zip(layer.linear, (3, 1) if own else (1, 2, 1), strict=True):
            linear(part, _WIDTH, outputs * _WIDTH)

    def feed_forward(layer: Any) -> None:
        norm(layer.layer_norm)
        linear(layer.linear_0, _WIDTH, _FEED_FORWARD)
        linear(layer.linear_1, _FEED_FORWARD, _WIDTH)

    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = weights(_WIDTH, _MELS, 3), weights(_WIDTH)
    encoder.conv2.weight, encoder.conv2.bias = weights(_WIDTH, _WIDTH, 3), weights(_WIDTH)
    encoder.position_encodings.encodings = weights(1500, _WIDTH)
    decoder.embeddings.weight = weights(vocabulary, _WIDTH)
    decoder.position_encodings.encodings = weights(448, _WIDTH)
    decoder.projection.weight = weights(vocabulary, _WIDTH)
    norm(encoder.layer_norm)
    norm(decoder.layer_norm)
    attention(encoder.layer[0].self_attention, own=True)
    feed_forward(encoder.layer[0].ffn)
    attention(decoder.layer[0].self_attention, own=True)
    attention(decoder.layer[0].attention, own=False)
    feed_forward(decoder.layer[0].ffn)
