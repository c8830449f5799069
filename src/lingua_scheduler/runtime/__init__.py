"""asyncio pieces without domain words: clock, driver, queues, tasks, sockets, configuration, logging, metrics."""
