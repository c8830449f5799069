"""Words that seldom end what somebody has to say: connectives, and the fillers that buy time for the next word."""

from collections.abc import Mapping

from lingua_scheduler.node.aggregation.writing import bare, tokens
from lingua_scheduler.protocol.ids import Language

_EN = """
and or but so because since although though while whereas if unless until when whenever then also plus however therefore
moreover besides meanwhile otherwise thus hence that which who whose where whether as than like with from to of for
um umm uh uhh er erm hmm mm well actually basically anyway you-know i-mean such-as kind-of sort-of for-example so-that
"""
_ZH = """
和 与 跟 或 而 并 但 且 而且 并且 但是 可是 不过 然而 因为 所以 因此 于是 如果 要是 虽然 尽管 即使 然后 接着
还有 以及 或者 还是 就是 那么 也就是说 比如 比如说 例如 的话 那个 这个 嗯 呃
與 並 並且 不過 因為 於是 雖然 儘管 然後 接著 還有 還是 那麼 也就是說 比如說 的話 那個 這個
"""
_JA = """
そして それで それから それに でも だけど けど けれど けれども しかし ただ だから なので ので から また
および または あるいは つまり 例えば たとえば もし あと ところが ところで
えっと ええと えーと あの あのー その そのー まあ なんか うーん
"""
_KO = """
그리고 그래서 그런데 근데 하지만 그러나 그러면 그럼 그러니까 왜냐하면 또는 혹은 및 또 만약 즉 예를-들면 예를-들어
음 어 저 그 뭐 이제 저기 있잖아
"""


def _words(listed: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(entry.split("-")) for entry in listed.split())


_SPACED: Mapping[str, frozenset[tuple[str, ...]]] = {"en": _words(_EN), "ko": _words(_KO)}
_UNSPACED: Mapping[str, tuple[str, ...]] = {"zh": tuple(_ZH.split()), "ja": tuple(_JA.split())}
_SAME_AS = {"yue": "zh", "cmn": "zh"}


def ends_open(text: str, language: Language) -> bool:
    """Whether the text ends with a connective or a filler of its language; with any known one where that is unknown."""
    primary = language.partition("-")[0]
    primary = _SAME_AS.get(primary, primary)
    known = primary in _SPACED or primary in _UNSPACED
    if not known and primary not in {"", "auto"}:
        return False
    units = [unit for unit in map(bare, tokens(text)) if unit]
    tails = {tuple(units[-count:]) for count in (1, 2)} if units else set[tuple[str, ...]]()
    run = "".join(units)
    spaced = [entries for name, entries in _SPACED.items() if not known or name == primary]
    unspaced = [entries for name, entries in _UNSPACED.items() if not known or name == primary]
    return any(tails & entries for entries in spaced) or any(run.endswith(entries) for entries in unspaced)
