"""config/env.py: strict reads, blank is unset, every problem at once, no value shown."""

import pytest

from config.env import REQUIRED, Env, InvalidError


def problems(env: Env, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `env.verify()` prints before it ends the process."""
    with pytest.raises(SystemExit) as ended:
        env.verify()
    assert ended.value.code == 3
    return capsys.readouterr().err


def test_a_missing_variable_is_named(capsys):
    env = Env({})
    env.text("TOKEN", example="abc")
    assert "TOKEN is missing. Example: TOKEN=abc" in problems(env, capsys)


@pytest.mark.parametrize("blank", ["", " ", "\t", "\r\n"])
def test_blank_means_unset(blank, capsys):
    env = Env({"TOKEN": blank, "SIZE": blank, "FLAG": blank, "NAMES": blank})
    assert env.integer("SIZE", default=3) == 3
    assert env.boolean("FLAG", default=True) is True
    assert env.strings("NAMES", default=[]) == []
    env.verify()
    env.text("TOKEN")
    assert "TOKEN is missing" in problems(env, capsys)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("True", True), ("1", True), ("yes", True), ("ON", True), ("0", False), (" off ", False)],
)
def test_a_boolean_is_read(value, expected):
    assert Env({"FLAG": value}).boolean("FLAG") is expected


@pytest.mark.parametrize("value", ["ture", "t", "2", "enabled", "none", "true,false"])
def test_anything_else_is_no_boolean(value, capsys):
    env = Env({"FLAG": value})
    env.boolean("FLAG", default=False)
    assert "FLAG is not a boolean: write true or false" in problems(env, capsys)


@pytest.mark.parametrize("value", ["1.5", "1e3", "-1", "0x10", "1_000", "٣", "60s", "9" * 30])
def test_a_number_is_a_whole_number(value, capsys):
    env = Env({"SIZE": value})
    env.integer("SIZE", default=1)
    assert "SIZE is not a whole number" in problems(env, capsys)


def test_a_number_stays_in_its_range(capsys):
    env = Env({"LOW": "0", "HIGH": "65536", "GOOD": "65535"})
    assert env.integer("GOOD", minimum=1, maximum=65535) == 65535
    env.integer("LOW", minimum=1)
    env.integer("HIGH", minimum=1, maximum=65535)
    message = problems(env, capsys)
    assert "LOW is out of range: it must be 1 or more" in message
    assert "HIGH is out of range: it must be between 1 and 65535" in message


def test_a_list_is_separated_by_commas():
    assert Env({"NAMES": "a, b,,c ,"}).strings("NAMES") == ["a", "b", "c"]


def test_a_list_of_wrong_values_is_refused(capsys):
    env = Env({"HOSTS": "a.example,https://b.example", "EMPTY": ","})
    env.strings("HOSTS", pattern=r"[a-z.]+")
    env.strings("EMPTY", default=[])
    message = problems(env, capsys)
    assert "HOSTS is not a comma-separated list" in message
    assert "EMPTY is not a comma-separated list" in message


def test_a_choice_is_one_of_its_choices(capsys):
    env = Env({"GOOD": "INFO", "BAD": "loud"})
    assert env.choice("GOOD", ["info", "error"]) == "info"
    env.choice("BAD", ["info", "error"])
    assert "BAD is not one of info, error" in problems(env, capsys)


def test_every_problem_is_in_one_message(capsys):
    env = Env({"FLAG": "ture", "SIZE": "many"})
    env.boolean("FLAG", default=False)
    env.integer("SIZE", default=1)
    env.text("TOKEN", default=REQUIRED, because="while FLAG is off")
    message = problems(env, capsys)
    assert "has 3 problems" in message
    assert [line.split()[0] for line in message.splitlines() if "Example" in line] == ["FLAG", "SIZE", "TOKEN"]
    assert "TOKEN is missing, and required while FLAG is off" in message


def test_the_message_says_how_to_load_the_env_file(capsys):
    env = Env({})
    env.text("TOKEN")
    assert "honcho run python manage.py" in problems(env, capsys)


def test_no_value_is_ever_shown(capsys):
    def parse(value: str) -> str:
        raise ValueError(f"a library speaks of {value}")

    def refuse(value: str) -> str:
        raise InvalidError("is refused")

    names = ["A", "B", "C", "D", "E", "F"]
    env = Env(dict.fromkeys(names, "s3cret"))
    env.boolean("A")
    env.integer("B")
    env.choice("C", ["one"])
    env.strings("D", pattern="[0-9]")
    env.parsed("E", parse, example="x")
    env.parsed("F", refuse, example="x")
    message = problems(env, capsys)
    assert "s3cret" not in message
    assert "E cannot be read" in message
    assert "F is refused" in message


def test_a_right_environment_passes_in_silence(capsys):
    env = Env({"TOKEN": "abc"})
    assert env.text("TOKEN") == "abc"
    env.verify()
    assert capsys.readouterr() == ("", "")
