"""Who follows a run is told what it waits for, once, and when it goes on."""

import asyncio

from temporalio.client import Client

from executus import Status
from executus.budget import BudgetCheck, BudgetDecision
from executus.cli.follow import Follower
from executus.errors import StoreError
from executus.models.scripted import say
from executus.ports import Ports
from executus.stores.memory import MemoryAudit, MemoryBudget

from .gate import Gate
from .kit import kit
from .test_approvals import Notes

AWAY = "postgresql: connection refused by db?password=hush"


class Away(MemoryBudget):
    """Does not answer until it is back."""

    back = False

    async def check(self, check: BudgetCheck) -> BudgetDecision:
        if not self.back:
            raise StoreError(AWAY)
        return await super().check(check)


async def test_a_store_that_is_waited_for_is_told_and_that_the_run_goes_on(env):
    client = await Client.connect(env.client.service_client.config.target_host)
    budget = Away(unlimited_by_default=True)
    gate = Gate("executus.model")
    ports = Ports(audit=MemoryAudit(), budget=budget)
    async with kit(env, ports=ports, client=client, interceptors=[gate]) as k:
        handle = await k.start([say("42")])
        view = Notes()
        following = asyncio.create_task(Follower(k.runs, handle.id, view, asyncio.Queue()).wait())
        while not view.notes:
            await asyncio.sleep(0.02)
        budget.back = True
        while len(view.notes) < 2:
            await asyncio.sleep(0.02)
        gate.open.set()
        assert (await following).status is Status.OK
    waits, goes_on = view.notes
    assert waits == (
        "waiting   budget.check is tried again: "
        "postgresql: connection refused by db?password=[redacted 4]"
    )
    assert goes_on.startswith("going on  budget.check: waited ")
