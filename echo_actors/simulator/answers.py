"""What the scripted model says: the script's answer to a conversation."""

from __future__ import annotations

from echo_actors.simulator.conversation import Conversation
from echo_actors.simulator.messages_api import Answer, Block, text_block, thinking_block, tool_block
from echo_actors.simulator.script import Script


def compose_answer(script: Script, conversation: Conversation, number: int) -> Answer:
    """Compose the answer to the server's request `number`.

    Ids carry the length of the conversation as well, because a conversation may outlive a server and must not see
    an id twice.
    """
    unique = f"{conversation.length}_{number}"
    blocks: tuple[Block, ...] = (thinking_block("simulated thought"),) if script.thinking else ()
    if conversation.tools_used < len(script.tools):
        tool = script.tools[conversation.tools_used]
        blocks += (tool_block(f"toolu_{unique}", tool.name, tool.input),)
        return Answer(f"msg_{unique}", conversation.model, blocks, "tool_use")
    pieces = _pieces(script, conversation)
    blocks = () if script.empty else (*blocks, text_block(pieces))
    return Answer(f"msg_{unique}", conversation.model, blocks, "end_turn")


def _pieces(script: Script, conversation: Conversation) -> tuple[str, ...]:
    """Return the text of the answer, as the deltas it is streamed in."""
    if script.words is not None:
        return tuple(f"word{number} " for number in range(1, script.words + 1))
    if script.say is not None:
        return _halves(script.say)
    parts = [f"tool said: {result}" for result in conversation.tool_results]
    if conversation.asked:
        parts.append(f"echo: {conversation.user_text}")
    return _halves("\n".join(parts))


def _halves(text: str) -> tuple[str, ...]:
    """Split in two, so that every answer has a middle to stall or be cut in."""
    middle = (len(text) + 1) // 2
    return tuple(filter(None, (text[:middle], text[middle:])))
