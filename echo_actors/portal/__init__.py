"""The engine for programs that do not run on trio: threads, and asyncio."""

from echo_actors.portal.asynchronous import AsyncEngine, open_async_portal
from echo_actors.portal.blocking_engine import BlockingEngine
from echo_actors.portal.iteration import AsyncEvents, BlockingEvents
from echo_actors.portal.opening import open_portal

__all__ = ["AsyncEngine", "AsyncEvents", "BlockingEngine", "BlockingEvents", "open_async_portal", "open_portal"]
