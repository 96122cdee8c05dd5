"""LangChain agents that act on a local decision model: the host's own middlewares, and gates that may abstain."""

from langchain.agents import create_agent
from langchain.agents.middleware import AutoModeMiddleware, ModelChoice
from langchain_core.decisions import Choice, Noul, NoulCriteria
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_headgate import HeadgateDecisionModel
from langchain_headgate.agents import HeadgateModelGateMiddleware, HeadgateToolGateMiddleware


class Chat(GenericFakeChatModel):
    """Stands for a language model: it says what it is told to."""

    def bind_tools(self, tools: list[BaseTool], **_: object) -> "Chat":
        """Any tools."""
        return self


def says(*messages: str | AIMessage) -> Chat:
    """A model with these answers."""
    return Chat(messages=iter(AIMessage(m) if isinstance(m, str) else m for m in messages))


def calling(name: str, **args: str) -> AIMessage:
    """What a model says that calls a tool."""
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"call-{name}"}])


@tool
def read_file(path: str) -> str:
    """Read a file."""
    return f"({path} was read)"


@tool
def delete_file(path: str) -> str:
    """Delete a file permanently."""
    return f"({path} is gone)"


# Words of yours for a question that somebody else asks: hypotheses={"is_risky": {"true": "…", "false": "…"}}.
classifier = HeadgateDecisionModel()
answers = classifier.invoke(
    {
        "state": "The invoice is wrong again. Fix it, now!",
        "questions": {
            "team": Choice(instructions="Whose?", criteria={"billing": "invoices and payments", "tech": "bugs"}),
            "angry": Noul(instructions="Angry?", criteria=NoulCriteria(true="anger", false="friendliness")),
        },
    }
)
team = answers.choices["team"]
print(f"team: {team.choice} ({team.confidence:.2f}), angry: {answers.nouls['angry'].noul:.2f}")

for call in (calling("read_file", path="notes.txt"), calling("delete_file", path="thesis.tex")):
    stock = AutoModeMiddleware(tools=[read_file, delete_file], classifier=classifier)
    agent = create_agent(says(call, "Done."), tools=[read_file, delete_file], middleware=[stock])
    print("AutoMode:", agent.invoke({"messages": "Have a look at my folder."})["messages"][-2].content)

kinds = {"small": ModelChoice(says("Hello!"), "small talk"), "large": ModelChoice(says("Q.E.D."), "mathematics")}
for task in ("Prove that the root of two is irrational.", "hmm"):
    route = HeadgateModelGateMiddleware(choices=kinds, classifier=classifier, threshold=0.1)
    state = create_agent(says("(my own model)"), middleware=[route]).invoke({"messages": task})
    print(f"{task} -> {state['headgate_decisions']['model_route']['choice']}: {state['messages'][-1].content}")

gate = HeadgateToolGateMiddleware(classifier=classifier, threshold=0.999, abstain_from=0.5)  # unsure: ask a person
model = says(calling("delete_file", path="thesis.tex"), "I left it alone.")
agent = create_agent(model, tools=[delete_file], middleware=[gate], checkpointer=InMemorySaver())
thread = {"configurable": {"thread_id": "1"}}
asked = agent.invoke({"messages": "Clean up."}, thread)["__interrupt__"][0].value
print("a person is asked:", asked["name"], asked["args"], asked["description"])
state = agent.invoke(Command(resume={"type": "reject", "message": "that is my thesis"}), thread)
print(state["messages"][-2].content)
