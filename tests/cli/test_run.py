"""`executus run` as people and scripts use it: a process, its streams, its exit code."""

import json
import signal
from pathlib import Path

import pytest

from executus.cli.app import invoke
from executus.cli.run import choose_agent
from executus.errors import ConfigError
from executus.result import RunResult
from executus.status import Reason, Status
from tests.cli.silent_model import SilentModel
from tests.provider_server import Call, calls
from tests.provider_server.thread import in_a_thread

QUESTION = "What did the Lighthouse project cost in total?"


def test_json_is_one_result_and_nothing_else_on_stdout(executus) -> None:
    code, out, err = executus("run", "--json", "--id", "mine", "--caller", "me", QUESTION)
    result = RunResult.model_validate_json(out)
    assert (code, result.status, result.run_id) == (0, Status.OK, "mine")
    assert out.count("\n") == 1
    assert "39,630" in result.output
    assert "model     offline: a script plays the model" in err


def test_the_answer_is_on_stdout_and_the_steps_and_links_on_stderr(executus) -> None:
    code, out, err = executus("run", QUESTION)
    assert code == 0
    assert "39,630" in out
    assert "tool.read_file" not in out
    assert "tool.read_file" in err
    lines = err.splitlines()
    assert [line.split()[0] for line in lines[-5:]] == ["status", "spent", "run", "ui", "the"]
    assert "/namespaces/default/workflows/" in lines[-2]
    assert "\x1b" not in err


def test_two_runs_in_one_folder_at_the_same_time_both_answer(start) -> None:
    both = [start(["run", "--json", QUESTION]) for _ in range(2)]
    outcomes = [(process.communicate(timeout=90), process.returncode) for process in both]
    assert [code for _, code in outcomes] == [0, 0]
    results = [RunResult.model_validate_json(out) for (out, _), _ in outcomes]
    assert results[0].run_id != results[1].run_id


def test_a_run_that_is_not_ok_is_exit_code_1_with_its_result(executus) -> None:
    with SilentModel() as model:
        arguments = ("run", "--json", "--max-runtime", "1.5", QUESTION)
        code, out, err = executus(*arguments, **model.variables)
    result = RunResult.model_validate_json(out)
    assert (code, result.status, result.reason) == (1, Status.TIMEOUT, Reason.DEADLINE)
    assert "status    timeout (deadline)" in err


def test_an_agent_that_nobody_registered_is_a_typed_error(executus) -> None:
    code, out, _ = executus("run", "--json", "--agent", "nobody", "hello")
    result = RunResult.model_validate_json(out)
    assert (code, result.reason) == (1, Reason.UNKNOWN_AGENT)


def test_an_agent_file_and_a_folder_say_what_runs_on_what(executus, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "note.txt").write_text("The Heron project cost 12 euros.\n")
    (tmp_path / "a.toml").write_text(
        'name = "reader"\ntools = ["list_files", "search_files", "read_file", "calculate"]\n'
    )
    arguments = ("run", "--json", "--agent", "a.toml", "--folder", "papers", "What did Heron cost?")
    code, out, _ = executus(*arguments)
    result = RunResult.model_validate_json(out)
    assert code == 0
    assert any("note.txt" in step.summary for step in result.steps)


def test_ctrl_c_stops_the_run_and_shows_what_it_has(start) -> None:
    with SilentModel() as model:
        process = start(["run", "--json", QUESTION], **model.variables)
        assert model.called.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    result = RunResult.model_validate_json(out)
    assert process.returncode == 130
    assert (result.status, result.reason) == (Status.CANCELLED, Reason.CANCEL_SIGNAL)
    assert "stopping the run; Ctrl-C again does not wait for its result" in err


def test_a_second_ctrl_c_says_that_the_run_is_being_stopped(start) -> None:
    with SilentModel() as model:
        worker = start(["worker", "--dev"], **model.variables)
        assert any("serving" in line for line in worker.stderr)
        process = start(["run", "--id", "z1", QUESTION], **model.variables)
        assert model.called.wait(60)
        worker.send_signal(signal.SIGSTOP)  # so that the run cannot end between the two
        process.send_signal(signal.SIGINT)
        assert any("stopping the run" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "left the run z1; it is being stopped, on its worker" in err
    assert "its result executus run --id z1" in err
    assert "continues" not in err


def test_a_run_that_was_left_is_found_again_by_its_id(start, executus) -> None:
    with SilentModel() as model:
        arguments = ["run", "--json", "--id", "left", "--max-runtime", "4", QUESTION]
        process = start(arguments, **model.variables)
        assert model.called.wait(60)
        process.terminate()
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (143, "")
        assert "executus run --id left" in err
        code, _, err = executus("approve", "left")
        assert (code, "no worker polls its task queue executus.left; start one" in err) == (2, True)
        code, _, err = executus("steer", "nosuch", "hi")
        assert (code, "no run `nosuch` here; `executus audit list` shows them" in err) == (2, True)
        code, out, err = executus("run", "--json", "--id", "left", **model.variables)
    result = RunResult.model_validate_json(out)
    assert (code, result.run_id, result.reason) == (1, "left", Reason.DEADLINE)
    assert "the run left was started before" in err


def test_a_killed_command_loses_nothing(start, executus) -> None:
    first = start(["run", "--json", "--id", "once", QUESTION])
    out, _ = first.communicate(timeout=90)
    again = start(["run", "--json", "--id", "once", "something else"])
    assert again.communicate(timeout=90)[0] == out
    with SilentModel() as model:
        arguments = ["run", "--json", "--id", "killed", "--max-runtime", "4", QUESTION]
        process = start(arguments, **model.variables)
        assert model.called.wait(60)
        process.kill()
        process.communicate()
        code, out, _ = executus("run", "--json", "--id", "killed", **model.variables)
    result = RunResult.model_validate_json(out)
    assert (code, result.run_id) == (1, "killed")
    assert result.status is not Status.OK
    assert [step.id for step in result.steps] == ["m1"]


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("\n1 / 0\n", "ZeroDivisionError: division by zero ({file}:2)"),
        ("def broken(:\n", "SyntaxError: invalid syntax (host_app.py, line 1)"),
        ("import nothing_there\n", "No module named 'nothing_there' ({file}:1)"),
        (
            "from executus.plugin import ExecutusPlugin\nplugin = ExecutusPlugin(tools=['x'])\n",
            "tools: 'x' is a str, not a Tool: make one of a function with @tool ({file}:2)",
        ),
        ("def plugin(needed): ...\n", "TypeError: plugin() missing 1 required positional argument"),
    ],
)
def test_a_host_whose_code_fails_is_one_line_that_says_where(
    executus, tmp_path: Path, code, shown
) -> None:
    file = tmp_path / "host_app.py"
    file.write_text(code)
    status, _, err = executus("worker", "--dev", "--app", "host_app:plugin")
    assert (status, err.count("\n")) == (2, 1), err
    assert err.startswith("executus: --app `host_app:plugin`: ")
    assert shown.format(file=file) in err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["run"], "give a PROMPT, or --id to follow a run"),
        (["run", "--agent", "support", "--model", "x/y", "hi"], "registered on the worker"),
        (["run", "--agent", "none.toml", "hi"], "none.toml: No such file"),
        (["run", "--max-runtime", "-1", "hi"], "`max_runtime`: Input should be greater than 0"),
        (["run", "--folder", "nowhere", "hi"], "does not exist"),
        (["worker"], "no Temporal address: set TEMPORAL_ADDRESS, or use `worker --dev`"),
        (["worker", "--dev", "--app", "nonsense"], "write `module:attribute`"),
        (["worker", "--dev", "--app", "no_such_module:x"], "No module named 'no_such_module'"),
        (["worker", "--dev", "--app", "json:dumps_"], "has no attribute 'dumps_'"),
        (["worker", "--dev", "--app", "sys:version"], "is a str; it must be an ExecutusPlugin"),
    ],
)
def test_a_wrong_call_is_exit_code_2_and_one_message(
    monkeypatch, capsys, tmp_path: Path, arguments, shown
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert shown in err
    assert "Traceback" not in err


def test_a_run_that_was_never_started_cannot_be_followed(executus) -> None:
    code, out, err = executus("run", "--id", "never-started")
    assert (code, out) == (2, "")
    assert "no run `never-started` here; give a PROMPT to start it" in err


def test_an_address_that_nobody_answers_at_is_exit_code_2(executus) -> None:
    code, _, err = executus("run", "hi", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert code == 2
    assert "cannot reach Temporal at 127.0.0.1:1: connection refused" in err


def test_options_change_an_agent_by_value_only() -> None:
    agent = choose_agent(None, model_tier="a/b", max_runtime=5.0)
    assert not isinstance(agent, str)
    assert (agent.model_tier, agent.max_runtime, agent.name) == ("a/b", 5.0, "folder")
    assert choose_agent("support") == "support"
    with pytest.raises(ConfigError, match="--model and --max-runtime need an agent file"):
        choose_agent("support", max_runtime=5.0)


def test_a_structured_result_is_json_on_stdout(executus, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        'name = "adder"\n[output_schema]\ntype = "object"\nrequired = ["total"]\n'
        'additionalProperties = false\nproperties.total.type = "integer"\n'
    )
    handed_in = [calls(Call("submit", '{"total": "x"}')), calls(Call("submit", '{"total": 3}'))]
    with in_a_thread({"m": handed_in}) as url:
        tier = {"OPENAI_BASE_URL": url, "EXECUTUS_TIER_FAST": "openai-compatible/m"}
        code, out, err = executus("run", "--agent", "a.toml", "Add 1 and 2.", **tier)
    assert (code, json.loads(out)) == (0, {"total": 3})
    assert "tool.submit" in err


def test_a_database_that_is_away_is_told_at_once_and_while_it_is_waited_for(start) -> None:
    away = "postgresql://me@127.0.0.1:1/x"
    process = start(["run", "hi"], EXECUTUS_DATABASE_URL=away)
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("waiting"):
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    refused = 'postgresql: connection failed: connection to server at "127.0.0.1", port 1 failed'
    assert lines[0].startswith(f"warning   a store does not answer: {refused}")
    assert lines[-1].startswith(f"waiting   budget.check is tried again: {refused}")
    process.terminate()
    assert process.wait(30) == 143


def test_who_stops_reading_along_does_not_stop_the_run(start) -> None:
    process = start(["run", "hi"])
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    assert process.stdout is not None
    answer = process.stdout.read()
    assert (process.wait(60), "No file says anything" in answer) == (0, True)
    process.stderr = None


def test_a_prompt_that_says_nothing_starts_nothing(executus) -> None:
    said = "executus run: PROMPT is empty; is a variable not set? (executus run --help)\n"
    assert executus("run", "") == (2, "", said)
