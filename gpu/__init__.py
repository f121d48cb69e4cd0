"""What decodes: engines, the batcher, device processes and their pool, the model store, voice activity."""
