"""gunicorn.conf.py: what an environment makes of the web process."""

import gc
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

CONFIG = Path(__file__).parent.parent / "gunicorn.conf.py"


@pytest.fixture
def config_of(monkeypatch):
    """Return a function that runs gunicorn.conf.py in an environment and returns what it defines."""

    def run(**environment: str) -> dict:
        monkeypatch.setattr(os, "environ", environment)
        return runpy.run_path(str(CONFIG))

    yield run
    gc.enable()


def test_production_is_one_process_of_four_threads_on_every_interface(config_of):
    config = config_of()
    assert (config["bind"], config["workers"], config["threads"]) == ("0.0.0.0:8000", 1, 4)
    assert (config["preload_app"], config["reload"]) == (True, False)


def test_workers_collect_garbage(config_of):
    config = config_of()
    assert not gc.isenabled()
    config["post_fork"](SimpleNamespace(cfg=SimpleNamespace(preload_app=True)), None)
    assert gc.isenabled()


def test_development_is_one_process_that_reloads_on_this_machine(config_of):
    config = config_of(DEBUG="true", WEB_CONCURRENCY="4", PORT="5000")
    assert (config["bind"], config["workers"]) == ("127.0.0.1:5000", 1)
    assert (config["preload_app"], config["reload"]) == (False, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_LEVEL", "loud"), ("PORT", "0"), ("PORT", "65536"), ("WEB_CONCURRENCY", "4000"), ("WEB_THREADS", "1000")],
)
def test_a_wrong_variable_ends_the_process_by_name(name, value, config_of, capsys):
    with pytest.raises(SystemExit) as ended:
        config_of(**{name: value})
    assert ended.value.code == 3
    assert f"  {name} " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["PORT", "WEB_CONCURRENCY", "WEB_THREADS", "FORWARDED_ALLOW_IPS", "LOG_LEVEL"])
def test_blank_is_unset(name, config_of):
    def values(config: dict) -> dict:
        return {key: value for key, value in config.items() if isinstance(value, str | int | list)}

    assert values(config_of(**{name: " "})) == values(config_of())


def test_the_settings_of_django_are_not_its_business(config_of):
    assert config_of(SECRET_KEY="", DATABASE_URL="nonsense://")["workers"] == 1
