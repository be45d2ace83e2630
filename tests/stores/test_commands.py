"""migrate, audit, budget and sweep as a person types them."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from temporalio.testing import WorkflowEnvironment

from executus.cli.app import invoke
from executus.stores.database import Database
from executus.stores.dialects import bring_up
from executus.stores.sql_audit import SqlAudit
from executus.stores.sql_budget import SqlBudget
from tests.stores.clocks import call, check, closing, opening, row

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = invoke(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(url: str, *works: Callable[[Database], Any]) -> None:
    async def run() -> None:
        database = Database(url)
        for work in works:
            await work(database)
        await database.close()

    asyncio.run(run())


def migrated(say: Say, url: str) -> None:
    code, out, _ = say("migrate", "--database", url)
    assert code == 0
    assert "applied 0001_audit" in out


def test_migrate_says_what_it_did_and_does_nothing_twice(say: Say, url: str) -> None:
    migrated(say, url)
    assert "is up to date" in say("migrate", "--database", url)[1]


def test_the_script_is_printed_without_touching_anything(say: Say, home: Path) -> None:
    code, out, _ = say("migrate", "--print")
    assert (code, "-- 0001_audit\nCREATE TABLE audit_runs" in out) == (0, True)
    assert list(home.iterdir()) == []
    assert "fillfactor" in say("migrate", "--print", "--database", "postgresql://h/d")[1]


def test_a_database_without_schema_is_one_line_that_names_the_command(say: Say, url: str) -> None:
    code, _, err = say("audit", "list", "--database", url)
    assert code == 1
    assert "executus migrate --database " in err
    assert err.count("\n") == 1


def test_the_command_that_is_named_migrates_the_database_that_was_given(
    say: Say, home: Path
) -> None:
    err = say("budget", "show", "--database", "sqlite:///new.db")[2]
    named = err.partition("run `executus ")[2].partition("`")[0].split()
    assert named == ["migrate", "--database", "sqlite:///new.db"]
    assert "applied" in say(*named)[1]
    assert say("budget", "show", "--database", "sqlite:///new.db") == (0, "", "no caps\n")


def test_the_command_that_is_named_holds_no_password() -> None:
    told = bring_up(make_url("postgresql+psycopg://u:pa55@h/d?sslmode=require"))
    shown = "'postgresql://u:***@h/d?sslmode=require'"
    assert told == f"run `executus migrate --database {shown}` (with its password)"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused_by_every_command(say: Say, home: Path, url: str) -> None:
    for command in (["migrate"], ["audit", "list"], ["budget", "show"]):
        code, out, err = say(*command, "--database", url)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "is in memory, and gone with this command: give a file" in err


def test_a_database_that_cannot_be_made_is_told_by_its_place(say: Say, home: Path) -> None:
    (home / "file").write_text("")
    code, out, err = say("migrate", "--database", "sqlite:///file/x/new.db")
    assert (code, out) == (2, "")
    assert err == (
        "executus: cannot create file/x: Not a directory; set EXECUTUS_DATA_DIR, or "
        "EXECUTUS_DATABASE_URL (of a command: --database)\n"
    )
    code, out, err = say("audit", "list", "--database", f"sqlite:///{home}")
    assert (code, out) == (1, "")
    assert err.startswith(f"executus: sqlite: unable to open database file {home}: its folder must")


def test_a_file_that_is_no_database_is_told_with_the_way_out(say: Say, home: Path) -> None:
    (home / "notes.txt").write_text("no database at all, but long enough to be read as one\n" * 99)
    for command in (["migrate"], ["audit", "list"], ["budget", "show"]):
        code, out, err = say(*command, "--database", "sqlite:///notes.txt")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "notes.txt is not an SQLite database: move it away, or name another file" in err


def test_an_unknown_database_is_a_wrong_call(say: Say) -> None:
    code, _, err = say("audit", "list", "--database", "mysql://u:pa55@h/d")
    assert (code, "pa55" in err, err.count("\n")) == (2, False, 1)


def test_the_default_database_needs_no_migrate(say: Say, home: Path) -> None:
    assert say("audit", "list") == (0, "", "no runs\n")
    assert (home / ".executus" / "executus.db").exists()


def test_the_environment_names_the_database(
    say: Say, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECUTUS_DATABASE", url)
    assert "applied" in say("migrate")[1]


async def record(database: Database) -> None:
    audit = SqlAudit(database)
    await audit.start(opening("run", agent_name="\x1b[31mred"))
    await audit.record("run", [row(summary="looked", content={"reply": "a\x1b]0;x\x07b"})])
    await audit.close(closing())
    await audit.record("run", [row("late#1")])
    await audit.start(opening("open"))


def test_audit_shows_lists_and_verifies(say: Say, url: str) -> None:
    migrated(say, url)
    fill(url, record)
    code, out, _ = say("audit", "list", "--database", url)
    assert (code, len(out.splitlines())) == (0, 2)
    assert "ok/answer" in out
    assert "1 late" in out
    assert len(say("audit", "list", "--open", "--database", url)[1].splitlines()) == 1
    out = say("audit", "show", "run", "--database", url)[1]
    assert "m1#1" in out
    assert "LATE" in out
    assert "\x1b" not in out
    assert len(say("audit", "show", "run", "--json", "--database", url)[1].splitlines()) == 4
    assert say("audit", "verify", "--database", url) == (0, "ok: 2 runs, 5 entries\n", "")
    assert say("audit", "verify", "nobody", "--database", url)[0] == 2
    assert say("audit", "show", "nobody", "--database", url)[0] == 2


def test_audit_verify_names_the_first_broken_row_and_fails(say: Say, url: str) -> None:
    migrated(say, url)
    fill(url, record)
    edit = text("UPDATE audit_entries SET body = '{}' WHERE run_id = 'run' AND seq = 1")
    fill(url, lambda database: database.write(lambda c: c.execute(edit)))
    code, out, _ = say("audit", "verify", "--database", url)
    assert (code, out.startswith("BROKEN run: entry 1: row `m1#1`")) == (1, True)


def test_audit_verify_compares_with_the_head_that_was_kept_elsewhere(say: Say, url: str) -> None:
    migrated(say, url)
    fill(url, record)
    heads: list[str] = []

    async def head(database: Database) -> None:
        found = await SqlAudit(database).run("run")
        heads.append(str(found and found.closed_head))

    fill(url, head)
    options = ("--database", url)
    assert say("audit", "verify", "run", "--head", heads[0], *options)[0] == 0
    code, out, _ = say("audit", "verify", "run", "--head", "abc", *options)
    assert (code, out) == (1, f"BROKEN run: its head is {heads[0]}, not abc\n")
    out = say("audit", "verify", "open", "--head", "abc", *options)[1]
    assert out == "BROKEN open: its head is none (it has no close), not abc\n"
    assert say("audit", "verify", "--head", "0" * 64, *options)[0] == 2


def test_a_damaged_record_is_one_line_on_every_command(say: Say, url: str) -> None:
    migrated(say, url)
    fill(url, record)
    edit = text(f"UPDATE audit_runs SET started_at = {2**63 - 1} WHERE run_id = 'run'")  # noqa: S608
    fill(url, lambda database: database.write(lambda c: c.execute(edit)))
    options = ("--database", url)
    for arguments in (["verify"], ["verify", "run"], ["verify", "run", "--head", "0" * 64]):
        code, out, err = say("audit", *arguments, *options)
        assert (code, out.splitlines()[0][:10], err) == (1, "BROKEN run", "")
    code, out, err = say("audit", "show", "run", *options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "executus audit verify run" in err
    assert len(say("audit", "list", *options)[1].splitlines()) == 2


def test_what_a_purge_left_of_a_run_is_told_and_compared(say: Say, url: str) -> None:
    migrated(say, url)
    fill(url, record)
    options = ("--database", url)
    heads: list[str] = []

    async def purge(database: Database) -> None:
        found = await SqlAudit(database).run("run")
        heads.append(str(found and found.closed_head))
        assert await SqlAudit(database).purge(datetime.now(UTC) + timedelta(days=400)) == 1

    fill(url, purge)
    assert say("audit", "verify", *options) == (0, "ok: 1 runs, 1 entries\n", "")
    code, out, _ = say("audit", "verify", "run", *options)
    assert code == 0
    assert out.startswith("run was purged ")
    assert heads[0] in out
    assert say("audit", "verify", "run", "--head", heads[0], *options)[0] == 0
    assert say("audit", "verify", "run", "--head", "0" * 64, *options)[0] == 1
    code, _, err = say("audit", "show", "run", *options)
    assert (code, "was purged" in err) == (2, True)


def test_audit_purge_forgets_what_is_older(say: Say, url: str) -> None:
    migrated(say, url)
    fill(url, record)
    assert "removed 0 runs" in say("audit", "purge", "--older-than", "9999w", "--database", url)[1]
    code, _, err = say("audit", "purge", "--older-than", "soon", "--database", url)
    assert (code, "90d" in err) == (2, True)
    code, _, err = say("audit", "purge", "--older-than", "999999d", "--database", url)
    assert (code, "1000 years" in err) == (2, True)


def test_budget_is_set_shown_and_raised(say: Say, url: str) -> None:
    migrated(say, url)
    options = ("--database", url)
    assert say("budget", "set", "caller:alice", "--window", "day", "--usd", "5", *options)[0] == 0
    out = say("budget", "raise", "caller:alice", "--window", "day", "--usd", "2.50", *options)[1]
    assert "$7.50 (version 2" in out
    assert say("budget", "set", "*", "--unlimited", "--note", "trial", *options)[0] == 0
    out = say("budget", "show", *options)[1]
    assert len(out.splitlines()) == 4
    assert "agent:* unlimited" in out
    assert ": trial)" in out

    async def spend(database: Database) -> None:
        budget = SqlBudget(database)
        await budget.check(check())
        assert (await budget.authorize(call(micro_usd=1_250_000))).admitted

    fill(url, spend)
    out = say("budget", "show", "caller:alice", *options)[1]
    assert "caller:alice day: $0.00 used, $1.25 held, cap $7.50" in out
    say("budget", "set", "caller:alice", "--remove", *options)
    assert "no cap" in say("budget", "show", "caller:alice", *options)[1]


def test_budget_show_says_what_holds_for_a_scope(say: Say, url: str) -> None:
    """Also where nothing was used yet, and where nothing was said."""
    migrated(say, url)
    options = ("--database", url)
    say("budget", "set", "caller:alice", "--window", "run", "--usd", "5", *options)
    say("budget", "set", "caller:alice", "--window", "month", "--seconds", "2592000", *options)
    out = say("budget", "show", "caller:alice", *options)[1]
    assert "caller:alice run: cap $5.00, for each run and its children" in out
    assert "caller:alice month: 0 s used, 0 s held, cap 2,592,000 s" in out
    say("budget", "set", "agent:*", "--unlimited", *options)
    assert say("budget", "show", "agent:a", *options)[1] == "agent:a: unlimited\n"
    code, out, _ = say("budget", "show", "caller:bob", *options)
    assert code == 0
    assert out.startswith("caller:bob: nothing was said, so it has no budget")
    assert "executus budget set" in out


@pytest.mark.parametrize("scope", ["caller:alice", "*"])
def test_unlimited_takes_the_caps_of_the_scope_away(say: Say, url: str, scope: str) -> None:
    migrated(say, url)
    options = ("--database", url)
    capped = "caller:*" if scope == "*" else scope
    say("budget", "set", capped, "--window", "day", "--usd", "5", *options)
    say("budget", "set", capped, "--window", "7d", "--seconds", "1.5", *options)
    assert say("budget", "set", scope, "--unlimited", *options)[0] == 0
    out = say("budget", "show", *options)[1]
    assert f"{capped} unlimited" in out
    assert "$5.00" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "caller:a"],
        ["set", "caller:a", "--usd", "1"],
        ["set", "caller:a", "--window", "day", "--usd", "1", "--tokens", "1"],
        ["set", "caller:a", "--window", "day", "--usd", "nan"],
        ["set", "caller:a", "--window", "day", "--usd", "-1"],
        ["set", "caller:a", "--window", "day", "--unlimited"],
        ["set", "caller:a", "--unlimited", "--remove"],
        ["set", "*", "--window", "day", "--usd", "1"],
        ["set", "alice", "--window", "day", "--usd", "1"],
        ["raise", "caller:a", "--usd", "1"],
        ["raise", "caller:a", "--window", "day"],
        ["raise", "caller:a", "--window", "day", "--usd", "1"],
        ["set", "caller:a", "--window", "day", "--usd", "1e12"],
        ["set", "caller:a", "--window", "day", "--tokens", "9" * 20],
        ["grant", "run"],
        ["grant", "", "--tokens", "9"],
        ["grant", "run", "--iterations", "200000"],
        ["grant", "run", "--usd", "nan"],
        ["grant", "run", "--usd", "inf"],
        ["show", "alice"],
    ],
)
def test_a_wrong_budget_call_is_exit_code_2(say: Say, home: Path, arguments: list[str]) -> None:
    code, out, err = say("budget", *arguments)
    assert (code, out) == (2, "")
    assert err


def test_a_star_alone_is_told_where_it_goes(say: Say, home: Path) -> None:
    err = say("budget", "set", "*", "--window", "day", "--usd", "1")[2]
    told = "`*` alone goes only with --unlimited or --remove; else caller:*, tenant:*, agent:*"
    assert told in " ".join(err.split())
    for command in (["show", "*"], ["raise", "*", "--window", "day", "--usd", "1"]):
        err = say("budget", *command)[2]
        assert "`*` is not a budget scope; scopes are caller:<id>," in err
        assert "and caller:*, tenant:*, agent:* for each one that has no cap of its own" in err


def test_every_window_is_explained(say: Say) -> None:
    out = " ".join(say("budget", "set", "--help")[1].split())
    assert "or ..." not in out
    assert all(word in out for word in ("[run|day|7d|month|total]", "last 7 days", "total: all"))


@pytest.mark.parametrize("scope", ["caller:nobody", "*"])
def test_a_cap_that_is_not_there_is_removed_in_words(say: Say, home: Path, scope: str) -> None:
    code, out, _ = say("budget", "set", scope, "--remove")
    assert (code, out) == (0, f"{scope}: nothing was said, so there is nothing to remove\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--every", "5m"],
        ["--install", "--every", "0s"],
        ["--install", "--every", "25h"],
        ["--uninstall", "--install"],
        ["--uninstall", "--grace", "1m"],
        ["--install", "--database", "sqlite:///other.db"],
        ["--install", "--app", "my_app:plugin"],
        ["--app", "my_app:plugin", "--database", "sqlite:///other.db"],
        ["--grace", "999999w"],
        ["--lost-after", "soon"],
    ],
)
def test_a_wrong_sweep_is_exit_code_2_before_anything_is_asked(
    say: Say, home: Path, arguments: list[str]
) -> None:
    code, out, err = say("sweep", *arguments)
    assert (code, out) == (2, "")
    assert "TEMPORAL_ADDRESS" not in err
    assert list(home.iterdir()) == [], "no server was started, no database made"


def test_sweep_says_what_it_did_and_installs_a_schedule(
    say: Say, url: str, temporal: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.client.service_client.config.target_host)
    migrated(say, url)
    past = datetime.now(UTC) - timedelta(days=2)

    async def lost(database: Database) -> None:
        await SqlAudit(database).start(opening("lost-run", deadline_at=past))

    fill(url, lost)
    code, out, _ = say("sweep", "--database", url)
    assert code == 0
    assert "lost-run: error/terminated, closed" in out
    assert "looked at 1: 1 swept" in out
    assert "every 1:00:00" in say("sweep", "--install", "--every", "1h")[1]
    assert "updated: every 2:00:00" in say("sweep", "--install", "--every", "2h")[1]
    code, out, err = say("schedule", "list")
    assert code == 0
    assert "sweeps are on the schedule executus-sweep; `executus sweep --uninstall` ends" in err
    assert say("sweep", "--uninstall") == (0, "schedule executus-sweep removed\n", "")
    assert say("sweep", "--uninstall") == (0, "schedule executus-sweep is not there\n", "")
    assert "sweeps are on" not in say("schedule", "list")[2]
