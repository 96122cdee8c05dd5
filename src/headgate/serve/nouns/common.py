"""What headgate's own endpoints have in common: texts or conversations in, results in headgate's words out."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from headgate.serve.faults import Fault
from headgate.serve.wire import Reply, Wire


class Message(Wire):
    """A message of a conversation."""

    model_config = ConfigDict(extra="allow")

    role: str | None = Field(None, description="Who says it.", examples=["user"])
    content: str | list[Any] | None = Field(None, description="Text, or blocks.", examples=["Where is my parcel?"])


Text = str | list[Message]
"""A text, or a conversation: its messages, oldest first."""
Label = Annotated[str, Field(min_length=1)]


class Inputs(Wire):
    """One text or conversation, or several."""

    input: Text | None = Field(
        None, description="A text, or a conversation as messages.", examples=["Where is my parcel?"]
    )
    inputs: list[Text] | None = Field(
        None, description="Several of these, in place of input.", examples=[["Where is my parcel?", "Hello!"]]
    )

    def texts(self, most: int) -> list[Any]:
        """All of them, as a Router or a Guard takes them.

        Args:
            most: How many there may be.

        Raises:
            Fault: None, both, or too many.
        """
        if (self.input is None) == (self.inputs is None):
            raise Fault("invalid", "expected one of input and inputs: a text, or several.", param="input")
        given = [self.input] if self.inputs is None else self.inputs
        if not 1 <= len(given) <= most:
            raise Fault("invalid", f"{len(given)} inputs came; expected 1 to {most}.", param="inputs")
        return [one if isinstance(one, str) else [m.model_dump(exclude_none=True) for m in one] for one in given]  # type: ignore[union-attr]


class Usage(Reply):
    """What was read."""

    total_tokens: int = Field(description="Tokens of all texts.", examples=[12])
