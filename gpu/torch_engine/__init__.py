"""Whisper in PyTorch, made for windows that grow: rows join and leave between steps, and drafts are checked at once."""
