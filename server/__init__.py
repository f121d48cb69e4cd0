"""The gateway: sockets, one module per wire protocol, and everything around them."""
