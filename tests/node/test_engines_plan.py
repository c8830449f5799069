"""Specifications, the registry with third parties' engines, and plans."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.node.engines import plan, registry
from lingua_scheduler.node.engines.base import EngineError, MtRequest, Stage, serves
from lingua_scheduler.node.engines.plan import make_plan
from lingua_scheduler.node.engines.registry import kind_of, third_parties
from lingua_scheduler.node.engines.spec import EngineSpec, parse_spec, parse_specs
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language

EN, PT = Language("en"), Language("pt")

_KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
_VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
    st.from_regex(r"([a-zA-Z0-9/._:-]{1,20})?", fullmatch=True),
    st.dictionaries(_KEYS, _VALUES, max_size=3),
)
def test_a_spec_s_text_parses_to_an_equal_spec(name: str, argument: str, options: dict[str, str]):
    spec = EngineSpec(name, argument, options)
    assert parse_spec(str(spec)) == spec
    assert parse_specs(f"{spec},{spec}") == (spec, spec)


def test_a_spec_as_people_write_it():
    spec = parse_spec("whisper:/models/large?device=cuda&compute_type=float16")
    assert (spec.name, spec.argument) == ("whisper", "/models/large")
    assert spec.options == {"device": "cuda", "compute_type": "float16"}
    assert parse_spec("openai-mt:http://127.0.0.1:8000/v1").argument == "http://127.0.0.1:8000/v1"
    assert parse_spec("x?pairs=en-pt+pt>en-gb").pairs() == ((EN, PT), (PT, Language("en-gb")))
    assert parse_spec("x?languages=en+pt").languages() == (EN, PT)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (":model", "is not an engine"),
        ("whis per", "is not an engine"),
        ("whisper?device", "'device' is not key=value"),
        ("nope", "there is no engine 'nope'; there are: apertium, bergamot"),
        ("", "no engines"),
        ("scripted-asr?languages=english", "'english' is not a language code"),
        ("scripted-mt?service_ms=soon", "wants a number, not 'soon'"),
    ],
)
async def test_a_bad_spec_is_refused_with_what_is_wrong(text: str, says: str):
    with pytest.raises(EngineError, match=says) as caught:
        async with EngineHost(make_plan(text)) as host:
            await host.mt(MtRequest("text", EN, PT))
    assert caught.value.code is ErrorCode.UNSUPPORTED_FEATURE


def test_scripted_stands_for_all_three_stages():
    planned = make_plan("scripted?service_ms=5", asr_workers=3).engines
    assert [str(one.spec) for one in planned] == [f"scripted-{stage}?service_ms=5" for stage in ("asr", "mt", "tts")]
    assert [one.workers for one in planned] == [3, 1, 1]


_ANYTHING = {"whisper:tiny.en", "whisper:base", "pivot", "pico", "espeak", "bergamot"}


@pytest.mark.parametrize(
    ("installed", "chosen", "notes"),
    [
        (_ANYTHING, ["whisper", "pivot", "pico", "espeak"], []),
        (_ANYTHING - {"pivot"}, ["whisper", "bergamot", "pico", "espeak"], ["no Spanish: get pivot"]),
        (
            _ANYTHING - {"pivot", "pico", "whisper:base"},
            ["whisper", "bergamot", "espeak"],
            ["no Spanish: get pivot", "English and Spanish speech falls back to espeak-ng: get pico"],
        ),
        (
            {"pivot", "pico", "espeak"},
            ["whisper", "pivot", "pico", "espeak"],
            ["whisper:tiny.en will not load: get whisper:tiny.en"],
        ),
    ],
)
def test_the_demo_takes_what_is_installed_and_names_the_rest(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], chosen: list[str], notes: list[str]
):
    def missing(spec: EngineSpec) -> str | None:
        name = f"{spec.name}:{spec.argument}" if spec.name == "whisper" else spec.name
        return None if name in installed else f"get {name}"

    monkeypatch.setattr(plan, "_missing", missing)
    made = make_plan("demo")
    assert [one.spec.name for one in made.engines] == chosen
    assert list(made.notes) == notes
    assert made.engines[0].spec.argument == ("base" if "whisper:base" in installed else "tiny.en")


@pytest.mark.parametrize(
    ("installed", "source", "model"),
    [
        ({"tiny.en", "base"}, "", "base"),
        ({"tiny.en"}, "", "tiny.en"),
        ({"tiny.en", "base"}, "en", "tiny.en"),
        ({"base"}, "en-gb", "base"),
        ({"tiny.en", "base"}, "zh", "base"),
    ],
)
def test_the_demo_takes_the_smallest_model_that_understands_the_speaker(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], source: str, model: str
):
    def missing(spec: EngineSpec) -> str | None:
        return f"get {spec.argument}" if spec.name == "whisper" and spec.argument not in installed else None

    monkeypatch.setattr(plan, "_missing", missing)
    made = make_plan(f"demo:{source}" if source else "demo")
    assert str(made.engines[0].spec) == f"whisper:{model}"
    assert ["whisper" in str(one.spec) for one in made.engines].count(True) == 1


@pytest.mark.parametrize(
    ("source", "says"), [("zh", "get base"), ("en", "get tiny.en"), ("zh!", "not a language code")]
)
def test_a_demo_without_a_model_for_its_language_is_refused(monkeypatch: pytest.MonkeyPatch, source: str, says: str):
    def missing(spec: EngineSpec) -> str | None:
        return f"get {spec.argument}"

    monkeypatch.setattr(plan, "_missing", missing)
    with pytest.raises(EngineError, match=says):
        make_plan(f"demo:{source}")


_ACME = """
from lingua_scheduler.node.engines.base import EngineCard, MtResult, Stage
from lingua_scheduler.node.engines.kind import EngineKind

class Acme:
    def __init__(self, spec):
        self.greeting = spec.argument
    def load(self):
        return EngineCard("acme", Stage.MT, pairs=(("en", "pt"),))
    def run(self, request, emit):
        return MtResult(f"{self.greeting} {request.text}")

class Remote:
    def __init__(self, spec):
        self.fails = spec.argument
    async def load(self):
        if self.fails == "load":
            raise KeyError("address")
        return EngineCard("remote", Stage.MT, pairs=(("en", "pt"),))
    async def run(self, request, emit):
        raise KeyError("answer")
    async def close(self):
        pass

KIND = EngineKind(name="acme", stage=Stage.MT, about="a third party's", make=Acme)
REMOTE = EngineKind(name="acme", stage=Stage.MT, about="a third party's", make_async=Remote)
WRONG = 5
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    """A third party's package, as pip would have left it."""
    (folder / "acme_engines.py").write_text(_ACME)
    info = folder / "acme_engines-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-engines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINT_GROUP}]\n{entry}\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture
def fresh_registry():
    third_parties.cache_clear()
    yield
    third_parties.cache_clear()


async def test_a_third_party_s_engine_is_found_and_runs_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_registry: None
):
    install(tmp_path, monkeypatch, "acme = acme_engines:KIND")
    assert kind_of(parse_spec("acme:hello")).stage is Stage.MT
    async with EngineHost(make_plan("acme:hello")) as host:
        assert (await host.mt(MtRequest("world", EN, PT))).text == "hello world"
        assert host.mt_pairs() == ((EN, PT),)


async def test_what_a_third_party_s_remote_engine_raises_is_an_error_of_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_registry: None
):
    install(tmp_path, monkeypatch, "acme = acme_engines:REMOTE")
    async with EngineHost(make_plan("acme")) as host:
        with pytest.raises(EngineError, match="KeyError: 'answer'") as caught:
            await host.mt(MtRequest("world", EN, PT))
        assert (caught.value.code, caught.value.retryable) == (ErrorCode.PROCESSING_ERROR, True)
    with pytest.raises(EngineError, match="KeyError: 'address'") as caught:
        await EngineHost(make_plan("acme:load")).__aenter__()
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.MODEL_LOAD_FAILED, False)


@pytest.mark.parametrize(
    ("entry", "says", "code"),
    [
        ("acme_engines:WRONG", "is not an EngineKind", ErrorCode.UNSUPPORTED_FEATURE),
        ("acme_engines:NONE", "cannot be imported: AttributeError", ErrorCode.MODEL_LOAD_FAILED),
        ("acme_nowhere:KIND", "cannot be imported: ModuleNotFoundError", ErrorCode.MODEL_LOAD_FAILED),
    ],
)
def test_a_broken_package_of_a_third_party_is_named_and_harms_no_other_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_registry: None, entry: str, says: str, code: ErrorCode
):
    install(tmp_path, monkeypatch, f"acme = {entry}")
    with pytest.raises(EngineError, match=says) as caught:
        kind_of(parse_spec("acme"))
    assert caught.value.code is code
    assert entry in caught.value.message
    assert kind_of(parse_spec("whisper")).name == "whisper"


@pytest.mark.parametrize(
    ("offered", "wanted", "fits"),
    [("pt", "pt", True), ("pt", "pt-br", True), ("pt-br", "pt", True), ("pt-br", "pt-pt", False), ("en", "pt", False)],
)
def test_a_region_left_out_on_either_side_fits(offered: str, wanted: str, fits: bool):
    assert serves((Language(offered),), Language(wanted)) is fits


def test_every_shipped_engine_has_a_name_of_its_own_and_tells_what_it_is():
    names = [kind.name for kind in registry.SHIPPED]
    assert len(set(names)) == len(names)
    assert all(kind.about for kind in registry.SHIPPED)


def test_the_engines_in_the_documentation_exist_and_take_the_options_it_shows():
    text = (Path(__file__).parents[2] / "docs/engines.md").read_text("utf-8")
    shown = [
        spec for line in re.findall(r"--engines (.*)", text) for spec in parse_specs(line.strip('`"').split("`")[0])
    ]
    named = {spec.name for spec in shown} | set(re.findall(r"`([a-z0-9-]+)[:`]", text))
    assert {kind.name for kind in registry.SHIPPED if not kind.name.startswith("scripted")} <= named
    for spec in shown:
        if spec.name not in {"demo", "LIST"}:
            kind = kind_of(spec)
            assert kind.make_async(spec) if kind.make_async is not None else kind.make and kind.make(spec)
