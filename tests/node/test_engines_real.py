"""The shipped engines with their real models on real speech."""

import hashlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lingua_scheduler.data import COMMANDS, SENSE_AND_SENSIBILITY
from lingua_scheduler.node.audio import resampled
from lingua_scheduler.node.engines import whisper_models
from lingua_scheduler.node.engines.apertium import Apertium
from lingua_scheduler.node.engines.base import (
    AsrRequest,
    AsrResult,
    Audio,
    Engine,
    EngineError,
    MtRequest,
    MtResult,
    Speech,
    TtsRequest,
)
from lingua_scheduler.node.engines.bergamot import Bergamot
from lingua_scheduler.node.engines.espeak import Espeak
from lingua_scheduler.node.engines.pico import Pico
from lingua_scheduler.node.engines.pivot import Pivot
from lingua_scheduler.node.engines.plan import make_plan
from lingua_scheduler.node.engines.spec import parse_spec
from lingua_scheduler.node.engines.whisper import Whisper, _loops, cut_quiet
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from tests.node.speech import samples_of, word_errors, words
from tests.node.tiny_whisper import make_tiny_whisper

EN, PT, ES, ZH, DE = (Language(code) for code in ("en", "pt", "es", "zh", "de"))
HAS_APERTIUM = shutil.which("lt-proc") is not None
needs_apertium = pytest.mark.skipif(
    not HAS_APERTIUM, reason="Apertium is a system package: apt-get install apertium-es-pt"
)


def ignore(_text: str) -> None:
    return


def heard(engine: Whisper, audio: Audio, **fields: object) -> AsrResult:
    request = AsrRequest(audio, **fields)  # pyright: ignore[reportArgumentType]
    return engine.run(request, ignore)


def translated(engine: Engine[MtRequest, MtResult], text: str, source: Language, target: Language) -> str:
    return engine.run(MtRequest(text, source, target), ignore).text


@pytest.fixture(scope="module")
def random_whisper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Whisper, Path]:
    folder = make_tiny_whisper(tmp_path_factory.mktemp("whisper"))
    engine = Whisper(parse_spec(f"whisper:{folder}"))
    engine.load()
    return engine, folder


@pytest.fixture(scope="module")
def bergamot() -> Bergamot:
    engine = Bergamot(parse_spec("bergamot"))
    engine.load()
    return engine


@pytest.fixture
def apertium() -> Iterator[Apertium]:
    engine = Apertium(parse_spec("apertium"))
    engine.load()
    yield engine
    for chain in engine._chains.values():
        chain.close()


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    engine = Espeak(parse_spec("espeak"))
    card = engine.load()
    assert {PT, Language("pt-br"), EN, ES, DE} <= set(card.languages)
    assert ZH not in card.languages
    return engine


@pytest.fixture(scope="module")
def prose() -> Audio:
    return samples_of(SENSE_AND_SENSIBILITY.path)


class TestWhisper:
    def test_real_speech_is_recognised(self, tiny_en: Whisper, prose: Audio):
        result = heard(tiny_en, prose, language=EN)
        said = SENSE_AND_SENSIBILITY.transcript
        assert word_errors(said, result.text) <= len(words(said)) * 0.15
        assert not result.no_speech
        assert 0.6 < result.quality < 1
        assert (result.language, result.language_probability) == (EN, 1.0)
        assert result.segments[0].start_samples == 0
        assert result.segments[-1].end_samples == len(prose)

    def test_the_short_window_hears_what_the_full_one_hears(self, tiny_en: Whisper):
        full = Whisper(parse_spec("whisper:tiny.en?window=full"))
        full.load()
        audio = samples_of(COMMANDS.path)[: 4 * 16_000]
        assert words(heard(tiny_en, audio, language=EN).text) == words(heard(full, audio, language=EN).text)

    def test_a_context_steers_but_never_appears(self, tiny_en: Whisper):
        audio = samples_of(COMMANDS.path)[: 4 * 16_000]
        result = heard(tiny_en, audio, language=EN, prompt="The robot obeys orders about metres.")
        assert "robot" not in result.text.lower()
        assert "forward" in result.text.lower()

    @pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3, 5.0])
    def test_silence_is_no_speech(self, tiny_en: Whisper, seconds: float):
        result = heard(tiny_en, np.zeros(int(16_000 * seconds), np.float32), language=EN)
        assert result.no_speech
        assert result.text == ""
        assert result.quality == 0.0

    @pytest.mark.parametrize("level", [0.001, 0.02, 0.3])
    def test_noise_is_no_speech(self, tiny_en: Whisper, level: float):
        noise = np.random.default_rng(3).normal(0, level, 48_000).astype(np.float32)
        assert heard(tiny_en, noise, language=EN).no_speech

    def test_long_audio_is_cut_between_sentences_and_heard_whole(self, tiny_en: Whisper, prose: Audio):
        partials: list[str] = []
        result = tiny_en.run(AsrRequest(np.concatenate([prose, prose]), EN), partials.append)
        said = SENSE_AND_SENSIBILITY.transcript * 2
        assert len(result.segments) == 3
        assert word_errors(said, result.text) <= len(words(said)) * 0.2
        assert len(partials) == 3
        assert partials[-1] == result.text
        assert all(result.text.startswith(partial) for partial in partials)

    def test_an_english_model_knows_that_it_is_not_chinese(self, tiny_en: Whisper, prose: Audio):
        result = heard(tiny_en, prose[: 7 * 16_000], candidates=(ZH, EN))
        assert result.language == EN
        assert result.language_probabilities == {ZH: 0.0, EN: 1.0}

    def test_a_folder_is_loaded_as_it_is_and_says_that_it_is_unchecked(self, random_whisper: tuple[Whisper, Path]):
        engine, folder = random_whisper
        card = engine.load()
        assert set(card.languages) >= {EN, PT, ES, ZH}
        assert card.translates_to == (EN,)
        assert folder.name in card.notes[0]

    def test_the_language_is_chosen_among_the_candidates(self, random_whisper: tuple[Whisper, Path], prose: Audio):
        engine, _ = random_whisper
        both = heard(engine, prose[:32_000], candidates=(ZH, DE))
        assert set(both.language_probabilities) == {ZH, DE}
        assert both.language_probability == max(both.language_probabilities.values())
        assert both.language_probabilities[both.language] == both.language_probability
        free = heard(engine, prose[:32_000])
        assert len(free.language_probabilities) == 5
        assert free.language_probability == max(free.language_probabilities.values())

    def test_one_decoding_gives_text_and_translation(self, random_whisper: tuple[Whisper, Path], prose: Audio):
        engine, _ = random_whisper
        result = heard(engine, prose[:32_000], language=ZH, translate_to=EN)
        assert result.text
        assert result.translation
        assert result.translation != result.text
        assert heard(engine, prose[:32_000], language=ZH).translation is None

    def test_a_language_the_model_never_heard_of_is_refused(self, random_whisper: tuple[Whisper, Path], prose: Audio):
        with pytest.raises(EngineError, match="xx") as caught:
            heard(random_whisper[0], prose[:16_000], language=Language("xx"))
        assert caught.value.code is ErrorCode.UNSUPPORTED_FEATURE


@pytest.mark.skipif(
    whisper_models.missing("base") is not None,
    reason=f"{whisper_models.missing('base')}",
)
def test_the_packaged_base_model_hears_better(prose: Audio):
    engine = Whisper(parse_spec("whisper:base"))
    card = engine.load()
    assert {EN, PT, ES, ZH} <= set(card.languages)
    assert (card.translates_to, card.notes) == ((EN,), ())
    result = heard(engine, prose, candidates=(ZH, EN))
    assert (result.language, result.language_probability > 0.9) == (EN, True)
    said = SENSE_AND_SENSIBILITY.transcript
    assert word_errors(said, result.text) <= len(words(said)) * 0.08


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("He might even have been made amiable himself.", False),
        ("Continue. Continue.", False),
        ("Yes, yes, yes.", False),
        ("the Emperor of the World, the Emperor of the World, the Emperor of the World,", True),
        ("是的是的是的是的是的", True),
        ("He was not an ill-sp-sp-sp-sp-sp-sp-sp", True),
        ("rather cold-hearted and rather selfish, is to be ill-disposed", False),
        ("", False),
    ],
)
def test_a_text_that_goes_round_in_circles_is_noticed(text: str, loops: bool):
    assert _loops(text) is loops


class TestWhisperModels:
    def test_a_folder_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(EngineError, match="there is no folder") as caught:
            Whisper(parse_spec(f"whisper:{tmp_path}/none")).load()
        assert (caught.value.code, caught.value.retryable) == (ErrorCode.MODEL_NOT_AVAILABLE, False)

    @pytest.mark.parametrize("file", ["model.bin", "config.json", "tokenizer.json"])
    def test_a_missing_file_is_named_with_its_place(
        self, random_whisper: tuple[Whisper, Path], tmp_path: Path, file: str
    ):
        shutil.copytree(random_whisper[1], tmp_path, dirs_exist_ok=True)
        (tmp_path / file).unlink()
        with pytest.raises(EngineError, match=str(tmp_path / file)) as caught:
            Whisper(parse_spec(f"whisper:{tmp_path}")).load()
        assert caught.value.code is ErrorCode.MODEL_NOT_AVAILABLE

    @pytest.mark.parametrize("file", ["model.bin", "config.json", "tokenizer.json", "vocabulary.json"])
    def test_a_damaged_file_is_an_error_and_not_a_crash(
        self, random_whisper: tuple[Whisper, Path], tmp_path: Path, file: str
    ):
        shutil.copytree(random_whisper[1], tmp_path, dirs_exist_ok=True)
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:100])
        with pytest.raises(EngineError, match=tmp_path.name) as caught:
            Whisper(parse_spec(f"whisper:{tmp_path}")).load()
        assert caught.value.code in {ErrorCode.MODEL_CORRUPTED, ErrorCode.MODEL_LOAD_FAILED}

    def test_packaged_weights_that_were_changed_are_not_loaded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        real = whisper_models.find("tiny.en").folder
        shutil.copytree(real, tmp_path / "model")
        with (tmp_path / "model" / "model.bin").open("r+b") as file:
            file.seek(1000)
            file.write(b"\x55\xaa")

        def package_folder(_package: str, folder: str) -> Path:
            return tmp_path / folder

        monkeypatch.setattr(whisper_models, "_package_folder", package_folder)
        with pytest.raises(EngineError, match="checksum") as caught:
            Whisper(parse_spec("whisper:tiny.en")).load()
        assert (caught.value.code, caught.value.retryable) == (ErrorCode.MODEL_VERIFY_FAILED, False)

    def test_weights_in_parts_are_loaded_as_one_file(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, random_whisper: tuple[Whisper, Path], prose: Audio
    ):
        engine, folder = random_whisper
        weights = (folder / "model.bin").read_bytes()
        for number, part in ((1, weights[:1000]), (2, weights[1000:])):
            (tmp_path / f"p{number}").mkdir()
            (tmp_path / f"p{number}" / f"model.bin.part{number}").write_bytes(part)
        for path in folder.iterdir():
            if path.name != "model.bin":
                shutil.copy(path, tmp_path / "p1")

        def package_folder(package: str, _folder: str) -> Path:
            return tmp_path / package

        monkeypatch.setattr(whisper_models, "_package_folder", package_folder)
        sha256 = hashlib.sha256(weights).hexdigest()
        packaged = whisper_models._Packaged((("p1", ""), ("p2", "")), sha256, "two-parts")
        monkeypatch.setattr(whisper_models, "_PACKAGED", {"parts": packaged})
        in_parts = Whisper(parse_spec("whisper:parts"))
        assert in_parts.load().notes == ()
        assert heard(in_parts, prose[:32_000], language=ZH) == heard(engine, prose[:32_000], language=ZH)

    def test_a_gpu_that_is_not_there(self, random_whisper: tuple[Whisper, Path]):
        import ctranslate2

        if ctranslate2.get_cuda_device_count():
            pytest.skip("there is a GPU here")
        with pytest.raises(EngineError) as caught:
            Whisper(parse_spec(f"whisper:{random_whisper[1]}?device=cuda")).load()
        assert caught.value.code is ErrorCode.NO_GPU_AVAILABLE


def test_audio_is_cut_where_it_is_quiet_and_no_sample_is_lost(prose: Audio):
    pieces = cut_quiet(prose, 10 * 16_000)
    assert np.array_equal(np.concatenate(pieces), prose)
    assert all(0 < len(piece) <= 10 * 16_000 for piece in pieces)
    assert len(pieces) == 4
    for before, after in itertools.pairwise(pieces):
        seam = np.concatenate([before[-800:], after[:800]])
        assert np.abs(seam).mean() < np.abs(prose).mean() / 5


class TestBergamot:
    def test_both_directions(self, bergamot: Bergamot):
        assert "jovem" in translated(bergamot, "He was not an ill-disposed young man.", EN, PT)
        assert "young" in translated(bergamot, "Ele não era um jovem mal-intencionado.", PT, EN)

    @pytest.mark.parametrize("text", ["", "   ", "\n"])
    def test_nothing_stays_nothing(self, bergamot: Bergamot, text: str):
        assert translated(bergamot, text, EN, PT) == ""

    def test_short_answers_are_translated(self, bergamot: Bergamot):
        assert translated(bergamot, "Yes.", EN, PT) == "Sim."

    def test_a_pair_it_does_not_have(self):
        with pytest.raises(EngineError, match="en-zh"):
            Bergamot(parse_spec("bergamot?pairs=en-zh"))


@needs_apertium
class TestApertium:
    def test_a_sentence(self, apertium: Apertium):
        assert translated(apertium, "Ele não era um jovem.", PT, ES) == "Él no era un joven."

    @pytest.mark.parametrize(
        ("text", "same"),
        [
            ("olá [amigo]", "hola [amigo]"),
            ("olá {^amigo$}", "hola {^amigo$}"),
            ("olá / <b> \\ amigo", "hola / <b> \\ amigo"),
            ("olá [] amigo []", "hola [] amigo []"),
            ("olá\0amigo\nmeu", "hola amigo mío"),
            ("xyzzy", "xyzzy"),
            ("", ""),
        ],
    )
    def test_what_has_a_meaning_in_its_own_format_passes_through(self, apertium: Apertium, text: str, same: str):
        assert translated(apertium, text, PT, ES) == same
        assert translated(apertium, "Sim", PT, ES) == "Sí"

    def test_a_region_chooses_its_mode(self, apertium: Apertium):
        assert apertium._pair(MtRequest("", ES, Language("pt-br"))) == (ES, Language("pt-br"))
        assert apertium._pair(MtRequest("", ES, Language("pt-pt"))) == (ES, PT)

    @pytest.mark.parametrize("which", range(6))
    def test_a_program_of_the_chain_that_dies_is_replaced(self, apertium: Apertium, which: int):
        assert translated(apertium, "olá amigo", PT, ES) == "hola amigo"
        program = apertium._chains[PT, ES]._programs[which]
        program.kill()
        program.wait()
        assert translated(apertium, "olá amigo", PT, ES) == "hola amigo"

    def test_english_to_spanish_through_portuguese(self):
        engine = Pivot(parse_spec("pivot:pt?first=bergamot%3Fpairs%3Den-pt&second=apertium:pt-es"))
        assert engine.load().pairs == ((EN, PT), (EN, ES))
        assert "joven" in translated(engine, "He was not an ill-disposed young man.", EN, ES)
        assert "jovem" in translated(engine, "He was not an ill-disposed young man.", EN, PT)
        second = engine._second
        assert isinstance(second, Apertium)
        for chain in second._chains.values():
            chain.close()


def test_apertium_that_is_not_installed_is_named_with_its_package(tmp_path: Path):
    with pytest.raises(EngineError, match=r"apt-get install apertium") as caught:
        Apertium(parse_spec(f"apertium?modes={tmp_path}")).load()
    assert caught.value.code is ErrorCode.MODEL_NOT_AVAILABLE


class TestSpeechOutput:
    def test_what_pico_says_whisper_understands(self, pico: Pico, tiny_en: Whisper):
        text = "The quick brown fox jumps over the lazy dog, and nobody is surprised."
        speech = pico.run(TtsRequest(text, EN), ignore)
        result = heard(tiny_en, resampled(speech.audio, speech.sample_rate, 16_000), language=EN)
        assert word_errors(text, result.text) <= 1

    def test_what_espeak_says_whisper_understands(self, espeak: Espeak, tiny_en: Whisper):
        text = "The weather is very nice today, and we are going to the beach."
        speech = espeak.run(TtsRequest(text, EN), ignore)
        result = heard(tiny_en, resampled(speech.audio, speech.sample_rate, 16_000), language=EN)
        assert word_errors(text, result.text) <= 3

    def test_portuguese(self, espeak: Espeak):
        speech = espeak.run(TtsRequest("Ele não era um jovem mal-disposto.", PT), ignore)
        assert 1500 < speech.duration_ms < 4000
        assert 0.02 < float(np.sqrt(np.square(speech.audio).mean())) < 0.3

    @pytest.mark.parametrize("engine", ["espeak", "pico"])
    def test_rate_markup_and_emptiness(self, engine: str, request: pytest.FixtureRequest):
        voice: Engine[TtsRequest, Speech] = request.getfixturevalue(engine)

        def duration_ms(text: str, rate: float = 1.0) -> int:
            return voice.run(TtsRequest(text, ES, rate=rate), ignore).duration_ms

        plain = duration_ms("hola amigo mío, cómo estás")
        assert duration_ms("hola amigo mío, cómo estás", rate=2.0) < plain * 0.75
        assert duration_ms('<speed level="20">hola amigo mío, cómo estás</speed>') >= plain * 0.9
        assert duration_ms("") == duration_ms(" ") == 0
        assert duration_ms("hola\0 amigo mío, cómo estás") > plain * 0.7

    def test_a_language_without_a_voice(self, espeak: Espeak, pico: Pico):
        for engine in (espeak, pico):
            with pytest.raises(EngineError, match="qx") as caught:
                engine.run(TtsRequest("text", Language("qx")), ignore)
            assert caught.value.code is ErrorCode.MODEL_NOT_AVAILABLE


async def test_the_demo_s_chain_in_its_processes(prose: Audio):
    async with EngineHost(make_plan("demo", asr_workers=1)) as engines:
        assert (EN, PT) in engines.pairs()
        assert ((EN, ES) in engines.pairs()) == HAS_APERTIUM
        said = SENSE_AND_SENSIBILITY.transcript.splitlines()[0]
        recognised = await engines.asr(AsrRequest(prose[: 8 * 16_000], EN))
        assert word_errors(said, recognised.text) <= 2
        for target in (PT, ES) if HAS_APERTIUM else (PT,):
            result = await engines.mt(MtRequest(recognised.text, EN, target))
            assert "Dashwood" in result.text
            speech = await engines.tts(TtsRequest(result.text, target))
            assert 4000 < speech.duration_ms < 12_000
