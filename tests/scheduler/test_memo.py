"""What a client was told of ends that are still to be said, and shows when it resumes: it may show anything."""

import pytest

from lingua_scheduler.core.utterance import Tail
from lingua_scheduler.protocol.ids import JobId, Language
from lingua_scheduler.scheduler.keeping import TAILS_TOLD, memo_of, tails_of

ME = "s-1"
OWN = Tail(JobId("job-s-1-3-es"), 3, Language("es"), 800, JobId("job-s-1-4-es"))


def test_what_was_told_comes_back():
    assert tails_of(memo_of((OWN,)), ME) == (OWN,)
    assert tails_of("", ME) == (), "the last result left nothing"
    assert tails_of(None, ME) is None, "it does not say"


@pytest.mark.parametrize(
    "memo", ["x", "null", "[[[[", '[{"x":' + "[" * 100_000, '[{"samples": 1e400}]', "\ud800", "[1]"]
)
def test_what_is_no_memo_says_nothing(memo: str):
    assert tails_of(memo, ME) is None


def test_a_client_speaks_of_its_own_session_alone():
    others = Tail(JobId("job-s-2-3-es"), 3, Language("es"), 800, None)
    heir = Tail(JobId("job-s-1-3-es"), 3, Language("es"), 800, JobId("job-s-2-4-es"))
    less = Tail(JobId("job-s-1-3-es"), 3, Language("es"), -800, None)
    assert tails_of(memo_of((others, heir, less, OWN)), ME) == (OWN,)


def test_no_more_is_read_than_is_ever_told():
    memo = memo_of((OWN,)).strip("[]")
    assert tails_of(f"[{','.join([memo] * 1_000)}]", ME) == (OWN,) * TAILS_TOLD
