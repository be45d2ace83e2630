"""What people say to runs, where it cannot be said: the argument is named, nothing is sent."""

import pytest

from executus.cli.app import invoke

LONE = "\udcff\udcfe"
"""Two bytes that are not UTF-8, as Python hands them over."""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["steer", "r", LONE], "'TEXT': '\\udcff\\udcfe' is not UTF-8"),
        (["steer", LONE, "hi"], "'RUN': "),
        (["steer", "r", "hi", "--as", LONE], "'--as': "),
        (["cancel", LONE], "'RUN': "),
        (["cancel", "r", LONE], "'[REASON]': "),
        (["approve", LONE], "'RUN': "),
        (["deny", "r", "m1.t1", "--note", LONE], "'--note': "),
        (["answer", "r", LONE], "'TEXT': "),
        (["run", LONE], "'[PROMPT]': "),
        (["run", "--id", LONE], "'--id': "),
        (["run", "hi", "--agent", LONE], "'--agent': "),
        (["run", "hi", "--deliver", LONE], "'--deliver': "),
        (["fork", LONE], "'RUN': "),
        (["fork", "r", "--model", LONE], "'--model': "),
        (["budget", "grant", LONE, "--tokens", "9"], "'RUN': "),
        (["deliveries", "drop", LONE], "'[RUN]': "),
    ],
)
def test_what_is_not_utf_8_names_its_argument(arguments, shown, capsys) -> None:
    assert invoke(arguments) == 2
    err = capsys.readouterr().err
    assert f"Invalid value for {shown}" in err
    assert "is not UTF-8" in err


def test_a_run_that_failed_says_its_own_status_without_a_worker(executus) -> None:
    code, _, _ = executus("run", "hi", "--agent", "nobody", "--id", "bad")
    assert code == 1
    code, _, err = executus("answer", "bad", "yes")
    said = "run `bad` has ended (error/unknown_agent): executus run --id bad shows it"
    assert (code, said in err) == (2, True), err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["run", "hi", "--id", ""], "'--id': it is empty"),
        (["worker", "--dev", "--task-queue", ""], "'--task-queue': it is empty"),
        (["approve", "", "--list"], "'RUN': it is empty"),
        (["steer", "r", " "], "'TEXT': it is empty"),
        (["worker", "--task-queue", "q" * 1_001], "'--task-queue': it has 1,001 characters"),
        (
            ["steer", "r", "hi", "--as", "x" * 256],
            "'--as': it has 256 characters; the limit",
        ),
        (["steer", "r", "hi", "--wait", "--as", "x" * 256], "'--as': it has 256 characters"),
        (["cancel", "r", "--as", "x" * 256], "'--as': it has 256 characters"),
    ],
)
def test_what_is_empty_or_too_long_names_its_argument(arguments, shown, capsys) -> None:
    assert invoke(arguments) == 2
    assert f"Invalid value for {shown}" in capsys.readouterr().err


def test_a_text_that_is_cut_is_told(monkeypatch, capsys) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    assert invoke(["steer", "r", "\N{EURO SIGN}" * 7_000]) == 2
    assert "TEXT has 21,000 bytes; of more than 20,000 head and tail are said" in (
        capsys.readouterr().err
    )
