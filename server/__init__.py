"""The gateway: sockets, one module per wire protocol, and everything around them."""

import os

# numpy's linear algebra would share each small product with a thread per core, which then spins in wait for the next one:
# on two cores that took a tenth of the time devices need. It reads this once, when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
