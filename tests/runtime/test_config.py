"""Where a value comes from, and what is refused with which words."""

from pathlib import Path

import pytest

from lingua_scheduler.runtime.config import Config, ConfigError, load_config, load_with_sources


def test_without_anything_the_defaults_hold():
    assert load_config() == Config()
    assert load_config().server.port == 5010


def test_a_flag_beats_the_environment_and_that_the_file(tmp_path: Path):
    file = tmp_path / "config.toml"
    file.write_text('[server]\nport = 1\nhost = "127.0.0.9"\n[scheduler]\njob_timeout_seconds = 7\n')
    loaded = load_with_sources(
        file, {"LINGUA_SERVER__PORT": "2", "PATH": "/bin"}, {"server.port": 3, "node.zone": None}
    )
    assert (loaded.config.server.port, loaded.config.server.host) == (3, "127.0.0.9")
    sources = {setting.key: setting.source for setting in loaded.settings}
    assert sources["server.port"] == "flag"
    assert sources["server.host"] == sources["scheduler.job_timeout_seconds"] == str(file)
    assert sources["node.zone"] == "default"


@pytest.mark.parametrize("text", ["redis://h:1/0", "unix:///tmp/s"])
def test_environment_values_that_are_not_toml_are_text(text: str):
    config = load_config(env={"LINGUA_SCHEDULER__PHASE2__REDIS__URL": text})
    assert config.scheduler.phase2.redis.url == text


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[server]\nprot = 1", ["server.prot", "unknown key"]),
        ("[nonsense]\na = 1", ["nonsense", "unknown key"]),
        ('[server]\nport = "x"', ["server.port", "int"]),
        ("[server]\nport = 70000", ["server.port", "0–65535"]),
        ("server = 3", ["server"]),
        ("[scheduler.phase2]\nenabled = false", ["scheduler.phase2.enabled"]),
        ("[node_health]\nsuspect_ms = 20000", ["node_health.lost_ms"]),
        ('[scheduler.phase2.redis]\nmode = "cluster"', ["cluster_urls"]),
        ('[scheduler.phase2.redis]\nmode = "twin"', ["scheduler.phase2.redis.mode"]),
        ("[scheduler.web_task_segmentation]\nmax_session_buffer_bytes = 600000", ["max_session_buffer_bytes"]),
        ("[server", ["is not TOML"]),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_the_key(tmp_path: Path, toml: str, words: list[str]):
    file = tmp_path / "config.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        load_config(tmp_path / "absent.toml")


def test_a_value_cannot_be_a_section_too():
    with pytest.raises(ConfigError, match=r"server\.port\.x"):
        load_config(overrides={"server.port": 1, "server.port.x": 2})


def test_the_example_file_is_accepted_and_says_the_defaults():
    example = Path(__file__).parents[2] / "config.example.toml"
    assert load_config(example) == Config()
