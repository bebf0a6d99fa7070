"""The peers that people compare with: the official SDK, as a client per channel, and as a ``query()`` per message.

Importing the SDK takes more than a second, so only the scenario that needs it imports this.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, query

from bench.bare import BareCLI
from bench.contenders import Conversation
from bench.report import Round
from bench.workload import Ask, Conversations


async def sdk_clients(conversation: Conversation) -> Round:
    """Hold a conversation with one client of the official SDK per channel."""
    harness = conversation.harness
    with harness.workplace() as workplace:
        cli = BareCLI.like(harness.settings(workplace), workplace)
        return await Conversations(lambda _: _client(cli), conversation.channels, conversation.messages).run()


async def sdk_queries(conversation: Conversation) -> Round:
    """Hold a conversation with a call of ``query()`` for each message, which starts a CLI and resumes the session."""
    harness = conversation.harness
    with harness.workplace() as workplace:
        cli = BareCLI.like(harness.settings(workplace), workplace)

        @asynccontextmanager
        async def channel(_: int) -> AsyncIterator[Ask]:
            session_id: str | None = None

            async def ask(text: str) -> str:
                nonlocal session_id
                answer = None
                # Read to its end: see below.
                async for message in query(prompt=text, options=_options(cli, resume=session_id)):
                    if isinstance(message, ResultMessage):
                        answer, session_id = message.result, message.session_id
                if answer is None:
                    raise RuntimeError("the CLI ended without a result")
                return answer

            yield ask

        return await Conversations(channel, conversation.channels, conversation.messages).run()


@asynccontextmanager
async def _client(cli: BareCLI) -> AsyncIterator[Ask]:
    """A connected client for the block."""
    options = _options(cli, extra_args={"session-id": str(uuid.uuid4())})
    async with ClaudeSDKClient(options) as client:
        messages = client.receive_messages()

        async def ask(text: str) -> str:
            await client.query(text)
            async for message in messages:
                if isinstance(message, ResultMessage):
                    return message.result or ""
            raise RuntimeError("the CLI ended without a result")

        yield ask
    # Read to its end: a generator of the SDK that is left in the middle cannot be closed on trio.
    with suppress(anyio.ClosedResourceError):
        async for _ in messages:
            pass


def _options(cli: BareCLI, **more: Any) -> ClaudeAgentOptions:
    """The arguments and the environment that the other contenders have, as the SDK takes them."""
    launch = cli.arguments
    return ClaudeAgentOptions(
        cli_path=cli.cli,
        env=dict(cli.environment),
        cwd=launch.working_dir,
        model=launch.model,
        allowed_tools=list(launch.allowed_tools),
        permission_mode="default",
        system_prompt={"type": "file", "path": str(launch.prompt_file)},
        include_partial_messages=launch.partial_messages,
        **more,
    )
