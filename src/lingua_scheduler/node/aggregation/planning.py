"""Which pieces of pending audio make which batches."""

from collections.abc import Sequence

from lingua_scheduler.node.aggregation.cutting import complete_batches, cut_points, full_batches
from lingua_scheduler.node.aggregation.limits import AudioLimits
from lingua_scheduler.node.aggregation.stretches import Piece, Stretch, joined

Batches = list[list[Piece]]


def plan_whole(stretches: Sequence[Stretch], quiet_rms: float, limits: AudioLimits) -> Batches:
    """All of it, in as few batches as the longest allowed permits. Audio is cut only where it must be."""
    most = limits.samples(limits.whole_max_ms)
    pieces: list[Piece] = []
    for run in joined(stretches):
        pieces += run.cut(cut_points(run.audio, quiet_rms, limits)) if len(run.audio) > most else [run]
    return _grouped(pieces, full_batches([len(piece.audio) for piece in pieces], most))


def plan_monologue(stretches: Sequence[Stretch], quiet_rms: float, limits: AudioLimits) -> tuple[Batches, int]:
    """The batches that are complete, and where the tail behind them begins. `stretches` is not empty.

    The last piece is in no batch, however long it is: the clock ended it, not a pause.
    """
    pieces = [piece for run in joined(stretches) for piece in run.cut(cut_points(run.audio, quiet_rms, limits))]
    lengths = [len(piece.audio) for piece in pieces[:-1]]
    batches = _grouped(pieces, complete_batches(lengths, limits.samples(limits.batch_ms)))
    return batches, pieces[sum(map(len, batches))].start


def _grouped(pieces: Sequence[Piece], counts: Sequence[int]) -> Batches:
    left = iter(pieces)
    return [[next(left) for _ in range(count)] for count in counts]
