"""The live page: what a browser sees of calls and of load, and the feeds behind it.

``files`` serves the page itself, which is in ``static/`` as it was written; ``calls`` is the feed of a tenant's calls,
``load`` the feed of what shards and devices do, ``tally`` counts for it on one machine.
"""
