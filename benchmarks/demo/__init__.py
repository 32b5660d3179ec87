"""The demonstration: one real aiohttp application on asyncio and on pyasync; `make demo`."""
