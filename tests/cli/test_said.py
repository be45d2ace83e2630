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
        (["audit", "show", LONE], "'RUN': "),
        (["audit", "verify", LONE], "'[RUN]': "),
        (["audit", "verify", "r", "--head", LONE], "'--head': "),
        (["audit", "list", "--caller", LONE], "'--caller': "),
        (["audit", "list", "--agent", LONE], "'--agent': "),
        (["files", "list", LONE], "'[RUN]': "),
        (["files", "get", "r", LONE], "'[ID]...': "),
        (["files", "list", "--files", LONE], "'--files': "),
        (["schedule", "add", LONE, "hi", "--every", "1h"], "'NAME': "),
        (["schedule", "add", "s", LONE, "--every", "1h"], "'PROMPT': "),
        (["schedule", "add", "s", "hi", "--cron", LONE], "'--cron': "),
        (["schedule", "add", "s", "hi", "--zone", LONE], "'--zone': "),
        (["schedule", "add", "s", "hi", "--caller", LONE], "'--caller': "),
        (["schedule", "add", "s", "hi", "--deliver", LONE], "'--deliver': "),
        (["schedule", "pause", "s", "--note", LONE], "'--note': "),
        (["schedule", "remove", LONE], "'NAME': "),
        (["budget", "show", LONE], "'[SCOPE]': "),
        (["budget", "set", LONE, "--usd", "1"], "'SCOPE': "),
        (["agents", "show", LONE], "'NAME': "),
        (["packs", "remove", LONE], "'NAME...': "),
        (["audit", "list", "--database", LONE], "'--database': "),
        (["tools", "--app", LONE], "'--app': "),
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
        (["audit", "show", ""], "'RUN': it is empty"),
        (["audit", "show", "x" * 1_001], "'RUN': it has 1,001 characters"),
        (["audit", "list", "--caller", ""], "'--caller': it is empty"),
        (["audit", "list", "--agent", "x" * 256], "'--agent': it has 256 characters"),
        (["audit", "list", "--database", ""], "'--database': it is empty"),
        (["files", "list", ""], "'[RUN]': it is empty"),
        (["files", "get", "r", " "], "'[ID]...': it is empty"),
        (["files", "list", "--files", ""], "'--files': it is empty"),
        (["schedule", "pause", ""], "'NAME': it is empty"),
        (["schedule", "trigger", "x" * 201], "'NAME': it has 201 characters; the limit is 200"),
        (["schedule", "add", "s", "", "--every", "1h"], "'PROMPT': it is empty"),
        (["schedule", "add", "s", "hi", "--cron", ""], "'--cron': it is empty"),
        (["schedule", "add", "s", "hi", "--agent", ""], "'--agent': it is empty"),
        (["schedule", "add", "s", "hi", "--deliver", ""], "'--deliver': it is empty"),
        (
            ["schedule", "add", "s", "hi", "--caller", "x" * 256],
            "'--caller': it has 256 characters",
        ),
        (["budget", "show", ""], "'[SCOPE]': it is empty"),
        (["worker", "--app", ""], "'--app': it is empty"),
    ],
)
def test_what_is_empty_or_too_long_names_its_argument(arguments, shown, capsys) -> None:
    assert invoke(arguments) == 2
    assert f"Invalid value for {shown}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["audit", "show", "r\x1b[31m"], "RUN"),
        (["audit", "verify", "r\n"], "[RUN]"),
        (["audit", "list", "--caller", "a\x07"], "--caller"),
        (["files", "list", "r\x9b"], "[RUN]"),
        (["files", "get", "r", "a\tb"], "[ID]..."),
        (["schedule", "remove", "s\x1b]0;x\x07"], "NAME"),
        (["schedule", "pause", "s", "--note", "a\nb"], "--note"),
        (["run", "--id", "a\nb"], "--id"),
        (["steer", "r", "hi", "--as", "bob\x1b[2J"], "--as"),
        (["budget", "show", "caller:\x1b[2J"], "[SCOPE]"),
    ],
)
def test_a_name_that_would_do_things_to_a_terminal_is_refused(arguments, name, capsys) -> None:
    assert invoke(arguments) == 2
    err = capsys.readouterr().err
    assert f"Invalid value for '{name}': " in err
    assert "has control characters" in err
    assert not any(c in err for c in "\x1b\x07\x9b\t")


def test_a_text_that_is_cut_is_told(monkeypatch, capsys) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    assert invoke(["steer", "r", "\N{EURO SIGN}" * 7_000]) == 2
    assert "TEXT has 21,000 bytes; of more than 20,000 head and tail are said" in (
        capsys.readouterr().err
    )
