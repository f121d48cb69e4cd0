"""The core everyone shares: pure, told the time, events in and effects out; I/O only in ``streaming.log``."""
