"""`executus agents`, and agents of folders in `run` and `worker`."""

import json
from pathlib import Path

import pytest

from executus.cli.app import invoke
from executus.cli.run import choose_agent
from executus.errors import ConfigError
from executus.result import RunResult

APP = """
from executus import RunnableAgent
from executus.plugin import ExecutusPlugin
from executus.tools import tool

@tool(visibility="public")
def lookup(q: str) -> str:
    return q

@tool
def secret(q: str) -> str:
    return q

@tool(callers=["bob"])
def bobs(q: str) -> str:
    return q

plugin = ExecutusPlugin(agents=[RunnableAgent(name="greeter")], tools=[lookup, secret, bobs])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "reader.toml").write_text(
        'tools = ["list_files", "search_files", "read_file", "calculate"]\nmax_iterations = 9\n'
    )
    (folder / "auditor.md").write_text(
        "---\nid: auditor-1\nextends: reader\nmax_runtime: 90\nlimits:\n  tool_errors: 0\n---\n"
        "# You audit\n\nTrust nothing.\n"
    )
    return folder


def test_the_list_shows_every_agent_and_the_broken_ones_with_their_problem(
    executus, folder
) -> None:
    code, out, _ = executus("agents", "--agents", "agents")
    assert code == 0
    assert "auditor < reader  id auditor-1  tier fast (default)  agents/auditor.md\n" in out
    assert "folder  id folder" in out
    assert "    tools: list_files, search_files, read_file, calculate\n" in out


def test_broken_agents_are_listed_with_their_problem_beside_the_others(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXECUTUS_AGENTS", "agents")
    (folder / "broken.md").write_text("---\nmodel: x\n---\n")
    (folder / "lost.toml").write_text(
        'tools = ["nope"]\nsub_agents = ["reader"]\nskills = ["none"]\n'
    )
    (folder / "slow.toml").write_text('model_tier = "slow"\n')
    (folder / "watched.toml").write_text('[critic]\nkind = "watchdgo"\n')
    assert invoke(["agents", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    shown = {line["name"]: line for line in lines}
    assert set(shown) == {"folder", "reader", "auditor", "broken", "lost", "slow", "watched"}
    wanted = {
        "source": "agents/auditor.md",
        "id": "auditor-1",
        "tier": None,
        "tools": ["list_files", "search_files", "read_file", "calculate"],
        "sub_agents": [],
        "extends": ["reader"],
        "problems": [],
    }
    assert {key: shown["auditor"][key] for key in wanted} == wanted
    assert shown["lost"]["sub_agents"] == ["reader"]
    assert "`model`: unknown field; known fields: " in shown["broken"]["problems"][0]
    unknown, delegates = shown["lost"]["problems"]
    assert unknown.startswith("unknown tools: nope; tools of this host: ask_human, calculate, ")
    assert "unknown agent 'none'; registered: auditor, folder, lost, reader" in delegates
    assert "no model tier or alias 'slow'" in shown["slow"]["problems"][0]
    (nobody,) = shown["watched"]["problems"]
    assert nobody.startswith("nobody would watch it: this host has no critic `watchdgo`; known: ")


def test_show_prints_the_effective_agent_as_a_file_that_is_the_same_agent(
    executus, folder: Path, tmp_path: Path, capsys
) -> None:
    code, out, err = executus("agents", "show", "auditor", "--agents", "agents")
    assert (code, err) == (0, "agents/auditor.md, extends reader\n")
    assert out.startswith("---\nname: auditor\nid: auditor-1\nmax_iterations: 9\n")
    assert out.endswith("---\n\n# You audit\n\nTrust nothing.\n")
    (tmp_path / "again.md").write_text(out)
    assert invoke(["agents", "--agents", str(folder), "show", "auditor", "--json"]) == 0
    (tmp_path / "again.json").write_text(capsys.readouterr().out)
    original = choose_agent("auditor", [folder])
    assert choose_agent(str(tmp_path / "again.md")) == original
    assert choose_agent(str(tmp_path / "again.json")) == original


def test_show_of_an_unknown_or_broken_agent_is_exit_code_2(folder, monkeypatch, capsys) -> None:
    monkeypatch.setenv("EXECUTUS_AGENTS", str(folder))
    (folder / "broken.toml").write_text("tools = 1\n")
    assert invoke(["agents", "show", "nobody"]) == 2
    assert (
        "unknown agent `nobody`; known agents: auditor, folder, reader" in capsys.readouterr().err
    )
    assert invoke(["agents", "show", "broken"]) == 2
    assert "broken.toml: `tools`: Input should be" in capsys.readouterr().err


def test_the_agents_of_an_app_are_checked_against_its_own_tools(
    tmp_path: Path, folder, monkeypatch, capsys
) -> None:
    (tmp_path / "an_app.py").write_text(APP)
    for name, text in {
        "reader": 'tools = ["bobs", "ask_human"]',
        "auditor": "",
        "public": 'tools = ["lookup", "secret"]\nvisibility = "public"\n',
        "phased": 'tools = ["secret"]\nphases = [{name = "One", tools = ["lookup"]}]\n',
        "typed": 'output_schema = {type = "strange"}\n',
    }.items():
        (folder / f"{name}.toml").write_text(text)
    (folder / "auditor.md").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("EXECUTUS_TIER_FAST", "scripted/echo")
    assert invoke(["agents", "--app", "an_app:plugin", "--agents", str(folder)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("greeter  id greeter")
    assert "PROBLEM tools not meant for public agents: secret\n" in out
    assert "PROBLEM output_schema: $.type" in out
    assert "PROBLEM phase `One`: lookup is not among the agent's tools: secret" in out
    assert out.count("PROBLEM") == 3


def test_a_run_takes_an_agent_of_a_folder_by_name(executus, folder) -> None:
    arguments = ("run", "--json", "--agents", "agents", "--agent", "auditor")
    code, out, _ = executus(*arguments, "What did the Lighthouse project cost in total?")
    result = RunResult.model_validate_json(out)
    assert (code, "39,630" in result.output) == (0, True)


def test_an_agent_of_a_folder_goes_by_value_and_may_be_changed(folder: Path) -> None:
    agent = choose_agent("auditor", [folder], max_runtime=5.0)
    assert not isinstance(agent, str)
    assert (agent.max_runtime, agent.max_iterations) == (5.0, 9)
    assert choose_agent("somebody", [folder]) == "somebody"
    assert choose_agent("folder", [folder]) == "folder"
    (folder / "reader.toml").write_text("tools = 1\n")
    with pytest.raises(ConfigError, match=r"auditor.md: extends .*reader.toml: `tools`"):
        choose_agent("auditor", [folder])


def test_a_broken_agent_file_refuses_the_start_of_a_worker(executus, folder: Path) -> None:
    (folder / "broken.toml").write_text("tools = 1\n")
    code, out, err = executus("worker", "--dev", "--agents", "agents")
    assert (code, out) == (2, "")
    assert "no worker starts:\n  agents/broken.toml: `tools`: Input should be" in err
    assert "Traceback" not in err


def test_the_folders_are_a_setting_like_any_other(monkeypatch, tmp_path: Path) -> None:
    from executus.settings import load_settings

    assert load_settings().agents == ()
    monkeypatch.setenv("EXECUTUS_AGENTS", "one:two/three")
    assert load_settings().agents == (Path("one"), Path("two/three"))
