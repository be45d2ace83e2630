"""`tool.skill_use`: the built-in tool that loads a skill pack's instructions on demand."""

from temporalio.exceptions import TemporalError

from executus.activities.conversation import Conversations
from executus.activities.host import Host
from executus.errors import ToolRetry
from executus.packs.prompt import read_skill
from executus.plan import SKILL_USE
from executus.tools import Tool, tool


def skill_tool(host: Host, conversations: Conversations) -> Tool:
    """The tool of one worker.

    Which packs a run may read, and in which version, stands in its plan: neither the model's words
    nor a pack that was updated since can change it.
    """

    @tool(name=SKILL_USE, effect="pure", timeout=30.0, visibility="public")
    async def skill_use(name: str, file: str | None = None) -> str:
        """Load the instructions of one of your skills, or one of the files they point to.

        Args:
            name: The skill, as in your list of skills.
            file: A file of the skill; leave it out for the instructions.
        """
        try:
            plan = await conversations.own_plan()
        except TemporalError as error:
            raise ToolRetry(f"the run could not be asked for its skills: {error}") from None
        return read_skill(host.packs, plan.packs, name, file)

    return skill_use
