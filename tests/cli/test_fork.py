"""`executus fork` as people call it."""

import json

import pytest


def test_a_fork_goes_on_from_a_step_of_a_run_whose_worker_is_gone(executus) -> None:
    code, out, err = executus("run", "What did the Lighthouse project cost?", "--json")
    assert code == 0, err
    source = json.loads(out)
    code, out, err = executus("fork", source["run_id"], "--at", "m1", "--json")
    assert code == 0, err
    fork = json.loads(out)
    assert fork["run_id"] != source["run_id"]
    assert fork["output"] == source["output"]
    assert fork["steps_total"] < source["steps_total"]


@pytest.mark.timeout(180)  # four commands, each with the folder's own server
def test_an_id_that_another_run_has_is_refused_and_the_same_fork_again_is_shown(executus) -> None:
    code, _, err = executus("run", "What did the Lighthouse project cost?", "--id", "first")
    assert code == 0, err
    fork = ("fork", "first", "--at", "m1", "--id", "mine", "--json")
    assert executus(*fork)[0] == 0
    assert executus(*fork)[0] == 0
    code, out, err = executus("fork", "first", "--id", "mine", "--json")
    assert (code, out) == (2, ""), err
    assert "mine is there already and is another run" in err
