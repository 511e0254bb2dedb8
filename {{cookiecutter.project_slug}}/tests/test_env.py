"""config/env.py: strict reads, blank is unset, every problem at once, no value shown."""

import pytest

from config.env import Env, InvalidError


def problems(env: Env, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `env.verify()` prints before it ends the process."""
    with pytest.raises(SystemExit) as ended:
        env.verify()
    assert ended.value.code == 3
    return capsys.readouterr().err


def test_a_missing_variable_is_named(capsys):
    env = Env({})
    env.text("TOKEN", example="abc")
    message = problems(env, capsys)
    assert "TOKEN is missing. Example: TOKEN=abc" in message


@pytest.mark.parametrize("blank", ["", " ", "\t", "\r\n"])
def test_blank_means_unset(blank, capsys):
    env = Env({"TOKEN": blank, "SIZE": blank, "FLAG": blank, "NAMES": blank})
    assert env.integer("SIZE", default=3) == 3
    assert env.boolean("FLAG", default=True) is True
    assert env.strings("NAMES", str, default="", example="a") == []
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


@pytest.mark.parametrize("value", ["1.5", "1e3", "-1", "0x10", "1_000", "٣", "60s"])
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
    assert "LOW is not a whole number from 1 to 2147483647" in message
    assert "HIGH is not a whole number from 1 to 65535" in message


def lower(value: str) -> str:
    if value != value.lower():
        raise InvalidError("has a value in upper case")
    return value


def test_a_list_is_separated_by_commas():
    assert Env({"NAMES": "a, b,,c ,"}).strings("NAMES", lower, example="a") == ["a", "b", "c"]


def test_a_list_with_a_wrong_value_is_refused(capsys):
    env = Env({"NAMES": "a,B", "EMPTY": ","})
    env.strings("NAMES", lower, example="a")
    env.strings("EMPTY", lower, default="", example="a")
    message = problems(env, capsys)
    assert "NAMES has a value in upper case" in message
    assert "EMPTY has nothing between its commas" in message


def test_a_variable_with_a_problem_reads_as_its_example():
    env = Env({"FLAG": "ture", "SIZE": "many", "LEVEL": "loud", "NAMES": "A"})
    assert env.text("TOKEN", example="abc") == "abc"
    assert env.boolean("FLAG", default=False) is True
    assert env.integer("SIZE", default=3) == 3
    assert env.choice("LEVEL", ["low", "high"]) == "low"
    assert env.strings("NAMES", lower, example="a,b") == ["a", "b"]
    assert len(env.problems) == 5


def test_a_choice_is_one_of_its_choices(capsys):
    env = Env({"GOOD": "INFO", "BAD": "loud"})
    assert env.choice("GOOD", ["info", "error"]) == "info"
    env.choice("BAD", ["info", "error"])
    assert "BAD is not one of info, error" in problems(env, capsys)


def test_every_problem_is_in_one_message(capsys):
    env = Env({"FLAG": "ture", "SIZE": "many"})
    env.boolean("FLAG", default=False)
    env.integer("SIZE", default=1)
    env.parsed("TOKEN", str, example="abc")
    message = problems(env, capsys)
    assert "has 3 problems" in message
    assert [line.split()[0] for line in message.splitlines() if "Example" in line] == ["FLAG", "SIZE", "TOKEN"]


def test_no_value_is_ever_shown(capsys):
    def parse(value: str) -> str:
        if value == "s3cret":
            raise ValueError(f"a library speaks of {value}")
        return value

    def refuse(value: str) -> str:
        if value == "s3cret":
            raise InvalidError("is refused")
        return value

    env = Env(dict.fromkeys("ABCDEF", "s3cret"))
    env.boolean("A")
    env.integer("B")
    env.choice("C", ["one"])
    env.strings("D", refuse, example="x")
    env.parsed("E", parse, example="x")
    env.parsed("F", refuse, example="x")
    message = problems(env, capsys)
    assert "s3cret" not in message
    assert "E cannot be read" in message
    assert "F is refused" in message
