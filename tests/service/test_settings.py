from __future__ import annotations

import pytest

from service.settings import Settings, read_settings, variables
from service.start_errors import InvalidSetting, UnknownSetting


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_PORT", "9001")
    monkeypatch.setenv("LINNET_HOST", "0.0.0.0")
    settings = read_settings(port=9002)
    assert (settings.host, settings.port) == ("0.0.0.0", 9002)


def test_an_unknown_variable_stops_the_start_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_MODEL_DIR", "x")
    with pytest.raises(UnknownSetting, match=r"no setting LINNET_MODEL_DIR: did you mean LINNET_MODELS_DIR\?"):
        read_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LINNET_PORT", "eighty"),
        ("LINNET_PORT", "65536"),
        ("LINNET_PROVIDER", "gpu"),
        ("LINNET_MAX_BATCH_SIZE", "0"),
        ("LINNET_MODEL", "../x"),
    ],
)
def test_a_bad_value_is_one_sentence(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSetting, match=f"The setting {variable} cannot be used") as raised:
        read_settings()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_does(name: str) -> None:
    assert len(Settings.model_fields[name].description or "") > 20
