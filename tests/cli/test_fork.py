"""`executus fork` as people call it."""

import json


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
