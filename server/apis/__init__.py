"""Other systems' speech APIs: one module per wire protocol."""
