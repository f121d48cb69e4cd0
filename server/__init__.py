"""The gateway: sockets, one module per wire protocol, and everything around them."""

import os

# numpy's linear algebra would share each small product with a thread per core, which then spins in wait for the next:
# on two cores that cost 30 ms of every channel's second. It reads this once, when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
