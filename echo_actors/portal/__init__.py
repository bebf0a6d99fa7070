"""The engine for programs that do not run on trio: threads, and asyncio."""

from echo_actors.portal.asynchronous import AsyncEngine, open_async_portal
from echo_actors.portal.blocking import BlockingEngine, open_portal
from echo_actors.portal.iteration import AsyncEvents, BlockingEvents

__all__ = ["AsyncEngine", "AsyncEvents", "BlockingEngine", "BlockingEvents", "open_async_portal", "open_portal"]
