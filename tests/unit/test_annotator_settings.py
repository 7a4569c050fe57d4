"""Settings of annotators: the paper's models, a file over them, and complaints that name the place."""

from dataclasses import fields

import pytest

from procir.annotators.settings import PRESETS, AnnotatorSettings, read_settings
from procir.errors import ConfigError


def settings(**changes):
    values = {"provider": "openai", "model": "m", "key_variable": "TEST_KEY", "max_tokens": 10}
    return AnnotatorSettings(**(values | changes))


def test_presets_are_those_of_the_paper():
    found = {
        stage: (each.provider, each.model, each.max_tokens, each.temperature, each.thinking)
        for stage, each in PRESETS.items()
    }
    assert found == {
        "caption": ("openai", "kimi-k2.5", 8192, 1.0, True),
        "verify": ("openai", "qwen3.5-397b-a17b", 16384, 1.0, True),
        "triplets": ("google", "gemini-3.1-flash-lite", 4096, 1.0, None),
    }
    assert read_settings() == PRESETS


def test_a_file_changes_single_fields_of_a_stage(tmp_path):
    path = tmp_path / "annotators.toml"
    path.write_text(
        '[caption]\nmodel = "other"\nbase_url = "http://127.0.0.1:1/v1"\nkey_variable = "MINE"\nthinking = false\n'
        "input_price = 1\noutput_price = 2.5\n[triplets]\nmax_tokens = 9\n"
    )
    found = read_settings(path)
    assert found["caption"] == AnnotatorSettings(
        provider="openai", model="other", base_url="http://127.0.0.1:1/v1", key_variable="MINE", max_tokens=8192,
        temperature=1.0, thinking=False, input_price=1.0, output_price=2.5,
    )  # fmt: skip
    assert found["verify"] == PRESETS["verify"]
    assert found["triplets"].max_tokens == 9
    assert found["triplets"].model == "gemini-3.1-flash-lite"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[caption]\nmodle = 'x'", r"a.toml: \[caption\] has no field 'modle': did you mean 'model'\?"),
        (
            "[captoin]\nmodel = 'x'",
            r"a.toml: \[captoin\] is no stage: did you mean 'caption'\? Known are caption,",
        ),
        ("caption = 1", r"a.toml: caption is a value, not a table: write \[caption\]"),
        ("[caption]\nmax_tokens = '8'", r"a.toml: \[caption\] max_tokens is '8': Input should be a valid integer"),
        ("[caption]\nmax_tokens = true", r"a.toml: \[caption\] max_tokens is True: "),
        ("[caption]\nprovider = 'x'", r"a.toml: \[caption\] provider is 'x': Input should be 'openai' or 'google'"),
        ("[caption]\nin_flight = 0", r"a.toml: \[caption\] in_flight is 0: it must be above 0"),
        ("[caption]\nmodel = ' '", r"a.toml: \[caption\] model is blank: fill it in"),
        ("[caption", r"a.toml: no TOML in UTF-8 .*: correct the file"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path, content, message):
    path = tmp_path / "a.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_settings(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read \(No such file"):
        read_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "name", ["max_tokens", "requests_per_minute", "tokens_per_minute", "in_flight", "timeout", "tries", "picture_side"]
)
def test_what_must_be_above_zero(name):
    with pytest.raises(ConfigError, match=rf"{name} is 0(\.0)?: it must be above 0"):
        settings(**{name: 0.0 if name == "timeout" else 0})


@pytest.mark.parametrize("name", ["temperature", "input_price", "output_price"])
def test_what_must_not_be_negative(name):
    assert getattr(settings(**{name: 0.0}), name) == 0
    with pytest.raises(ConfigError, match=f"{name} is -1.0: it must be 0 or more"):
        settings(**{name: -1.0})
    with pytest.raises(ConfigError, match=f"{name} is nan"):
        settings(**{name: float("nan")})


def test_an_address_has_a_scheme():
    with pytest.raises(ConfigError, match="base_url is 'host/v1': it starts with https://"):
        settings(base_url="host/v1")


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("TEST_KEY", raising=False)
    with pytest.raises(ConfigError, match="the environment variable TEST_KEY is not set: export the key for m"):
        settings().secret()
    monkeypatch.setenv("TEST_KEY", " abc\n")
    assert settings().secret() == "abc"


def test_dollars():
    assert settings().dollars(1, 1) is None
    assert settings(input_price=2.0).dollars(1, 1) is None
    assert settings(input_price=2.0, output_price=10.0).dollars(500_000, 100_000) == 2.0


def test_parameters_are_what_an_answer_depends_on():
    kept = {"provider", "model", "max_tokens", "temperature", "thinking", "picture_side"}
    assert set(settings().parameters()) == kept
    left_out = {field.name for field in fields(AnnotatorSettings)} - kept
    assert left_out == {
        "base_url", "key_variable", "input_price", "output_price", "requests_per_minute", "tokens_per_minute",
        "in_flight", "timeout", "tries",
    }  # fmt: skip
