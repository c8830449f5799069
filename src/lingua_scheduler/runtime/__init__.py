"""Asyncio pieces without domain words: clock, driver, timers, sockets, configuration, logging, metrics."""
