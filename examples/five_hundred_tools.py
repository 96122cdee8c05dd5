"""An agent with five hundred tools: the model is shown the handful that fit what was said."""

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import StructuredTool

from langchain_headgate.agents import HeadgateToolSelectorMiddleware

ACTIONS = {
    "create": "Create a new {}.",
    "delete": "Delete a {} for good.",
    "share": "Share a {} with a colleague.",
    "print": "Print a {} on paper.",
    "translate": "Translate a {} into another language.",
    "archive": "Put an old {} into the archive.",
    "rename": "Give a {} another name.",
    "schedule": "Plan a {} for a later day.",
    "find": "Find a {} by its words.",
    "count": "Count how many {}s there are.",
}
WORDS = """invoice parcel meeting contract ticket password newsletter server photo backup report poster recipe playlist
video song map calendar budget survey quiz lesson exam diploma visa passport hotel flight train taxi menu coupon refund
warranty manual blueprint patent logo website domain mailbox folder database table chart slide script novel poem
letter"""


class Model(BaseChatModel):
    """Stands for a language model: it prints the tools it is shown, and calls the first."""

    @property
    def _llm_type(self) -> str:
        return "example"

    def bind_tools(self, tools: Sequence[Any], **kwargs: object) -> Runnable:
        """With the names of the tools."""
        return self.bind(names=[t.name for t in tools])

    def _generate(
        self, messages: list[BaseMessage], *args: object, names: Sequence[str] = (), **kwargs: object
    ) -> ChatResult:
        said = AIMessage(messages[-1].text)
        if messages[-1].type == "human":
            print(f"  the model sees {', '.join(names)}")
            said = AIMessage("", tool_calls=[{"name": "delete_database", "args": {}, "id": "1"}])
        return ChatResult(generations=[ChatGeneration(message=said)])


def tool(action: str, thing: str) -> StructuredTool:
    """One that says what it did."""
    name, words = f"{action}_{thing}", ACTIONS[action].format(thing)
    return StructuredTool.from_function(lambda: f"{name} was run", name=name, description=words)


tools = [tool(action, thing) for thing in WORDS.split() for action in ACTIONS]
# All tools are embedded once; the scorer reads the nearest 32 for each request.
selector = HeadgateToolSelectorMiddleware(max_tools=5)
agent = create_agent(Model(), tools, middleware=[selector])

print(f"{len(tools)} tools")
for request in ("Can you print that contract for me?", "I need the menu in Spanish", "how many songs do I have?"):
    print(request)
    result = agent.invoke({"messages": [{"role": "user", "content": request}]})
    # What is hidden can't be called either.
    print(f"  it calls delete_database: {result['messages'][-1].text}")
