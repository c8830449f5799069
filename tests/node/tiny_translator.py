"""Translation models of random weights in CTranslate2's own format, with a SentencePiece model trained on the spot."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from ctranslate2.specs import TransformerSpec

_WIDTH, _FEED_FORWARD, _HEADS, _VOCABULARY = 16, 32, 2, 34
_TEXTS = ["hello my friend how are you", "olá meu amigo como vai você", "good morning to all of you", "bom dia a todos"]


def make_tiny_translator(folder: Path, language_tokens: list[str], pieces_name: str) -> Path:
    """Writes the model's files into `folder`: a vocabulary of pieces with the family's language tokens after them."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXTS), model_writer=trained, vocab_size=_VOCABULARY, minloglevel=2
    )
    (folder / pieces_name).write_bytes(trained.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    tokens = [str(pieces.id_to_piece(n)) for n in range(_VOCABULARY)] + language_tokens
    spec = TransformerSpec.from_config(1, _HEADS)
    _fill(spec, len(tokens), np.random.default_rng(2))
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.validate()
    spec.optimize(quantization=None)
    spec.save(str(folder))
    return folder


def _fill(spec: Any, vocabulary: int, rng: np.random.Generator) -> None:
    def weights(*shape: int) -> Any:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    def linear(layer: Any, inputs: int, outputs: int) -> None:
        layer.weight, layer.bias = weights(outputs, inputs), weights(outputs)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32)

    def attention(layer: Any, *shares: int) -> None:
        norm(layer.layer_norm)
        for part, outputs in zip(layer.linear, shares, strict=True):
            linear(part, _WIDTH, outputs * _WIDTH)

    def feed_forward(layer: Any) -> None:
        norm(layer.layer_norm)
        linear(layer.linear_0, _WIDTH, _FEED_FORWARD)
        linear(layer.linear_1, _FEED_FORWARD, _WIDTH)

    for side in (spec.encoder, spec.decoder):
        embeddings: Any = side.embeddings[0] if side is spec.encoder else side.embeddings
        embeddings.weight = weights(vocabulary, _WIDTH)
        side.position_encodings.encodings = weights(512, _WIDTH)
        norm(side.layer_norm)
        attention(side.layer[0].self_attention, 3, 1)
        feed_forward(side.layer[0].ffn)
    attention(spec.decoder.layer[0].attention, 1, 2, 1)
    spec.decoder.projection.weight = weights(vocabulary, _WIDTH)
