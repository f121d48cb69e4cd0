"""Telephony bridges: one module per wire protocol."""
