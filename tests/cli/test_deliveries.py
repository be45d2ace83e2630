"""`executus run --deliver` as a process, and wrong calls of it and of `executus deliveries`."""

import json

import pytest

from executus.cli.app import invoke


def test_a_run_is_delivered_to_a_file_of_its_own(executus, tmp_path):
    code, out, err = executus("run", "How much?", "--id", "r2", "--deliver", "file")
    assert code == 0, err
    assert "delivered file, 1 attempt" in err
    event = json.loads((tmp_path / ".executus" / "delivered" / "r2.json").read_text())
    assert event["data"]["output"].strip() == out.strip()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("run x --deliver Pigeon:home", "`kind`"),
        ("run x --json --deliver stdout", "not --deliver stdout"),
        ("run --id x --deliver file", "needs a PROMPT"),
        ("deliveries retry", "give a RUN, or --all"),
        ("deliveries retry r --all", "give a RUN, or --all"),
        ("deliveries retry --all --app executus.plugin:ExecutusPlugin", "no `delivery`"),
        ("deliveries drop", "give a RUN, or --older-than"),
    ],
)
def test_a_wrong_call_names_the_way_out(call, says, capsys):
    assert invoke(call.split()) == 2
    assert says in capsys.readouterr().err
