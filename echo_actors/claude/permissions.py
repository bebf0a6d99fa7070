"""Permission questions, without any I/O: the CLI's control requests to events, and answers to frames.

The CLI waits for the answer to each of its requests, for ever if need be. So what is no question, or cannot be read as
one, is refused at once.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import attrs

from echo_actors.claude.content import items, table, too_deep
from echo_actors.claude.wire import Frame, encode
from echo_actors.errors import InvalidAnswer
from echo_actors.events import PermissionAsked
from echo_actors.models import Allow, Answer, Deny


@attrs.frozen
class Refusal:
    """What the CLI is told at once, because nobody can be asked.

    Attributes:
        frame: As it is written.
    """

    frame: Frame


_STRAY = "Nobody can be asked: the message that this is done for has ended."


def question_of(frame: Frame, agents: Container[str] | None) -> dict[str, Any] | Refusal:
    """The fields of the question in a control request, by the names that ``PermissionAsked`` has.

    Args:
        frame: The request.
        agents: The sub-agents that the running turn has started; None when no turn runs. A sub-agent outlives its
            turn, and whoever the next one is for has not asked for what it does.

    Returns:
        What to reply instead when it is no question that anybody can be asked.
    """
    request = table(frame, "request")
    request_id, subtype = frame.get("request_id"), request.get("subtype")
    if subtype != "can_use_tool":
        return _refusal(request_id, f"unsupported request {str(subtype)[:100]!r}")
    tool, tool_input, agent_id = request.get("tool_name"), request.get("input"), str(request.get("agent_id") or "")
    if not isinstance(request_id, str) or not isinstance(tool, str) or not isinstance(tool_input, dict):
        return _refusal(request_id, "a question needs a request_id, a tool_name and an input")
    if too_deep(tool_input):
        return _refusal(request_id, "the input is nested too deep")
    if agents is None or (agent_id and agent_id not in agents):
        return Refusal(_denial(request_id, _STRAY))
    suggestions = [each for each in items(request, "permission_suggestions") if isinstance(each, dict)]
    return {
        "request_id": request_id,
        "tool": tool,
        "input": tool_input,
        "tool_use_id": _text(request, "tool_use_id"),
        "agent_id": agent_id,
        "description": _text(request, "description"),
        "reason": _text(request, "decision_reason"),
        "blocked_path": _text(request, "blocked_path"),
        "suggestions": tuple(suggestions),
    }


def answer_frame(question: PermissionAsked, answer: Answer) -> Frame:
    """The frame that answers a question.

    Raises:
        InvalidAnswer: It is no answer, or its input cannot be written as JSON.
    """
    match answer:
        case Deny(message=str() as message):
            return _denial(question.request_id, message, interrupt=answer.interrupt)
        case Allow(input=dict() | None):
            # Older CLIs want the input back in any case.
            given = question.input if answer.input is None else answer.input
            frame = _response(question.request_id, {"behavior": "allow", "updatedInput": given})
            try:
                encode(frame)
            except (TypeError, ValueError, RecursionError) as error:
                raise InvalidAnswer(f"the input of an answer must be JSON: {error}") from error
            return frame
    raise InvalidAnswer(
        f"an answer is Allow(...) or Deny(...), its input a table, its message a text; not {answer!r:.200}"
    )


def _denial(request_id: str, message: str, *, interrupt: bool = False) -> Frame:
    ending = {"interrupt": True} if interrupt else {}
    return _response(request_id, {"behavior": "deny", "message": message, **ending})


def _refusal(request_id: object, error: str) -> Refusal:
    # The name of a request is given back as it came, unless it is one that could not be written.
    name = request_id if isinstance(request_id, str | int) else None
    response = {"subtype": "error", "request_id": name, "error": error}
    return Refusal({"type": "control_response", "response": response})


def _response(request_id: str, response: dict[str, Any]) -> Frame:
    return {
        "type": "control_response",
        "response": {"subtype": "success", "request_id": request_id, "response": response},
    }


def _text(request: Frame, key: str) -> str:
    value = request.get(key)
    return value if isinstance(value, str) else ""
