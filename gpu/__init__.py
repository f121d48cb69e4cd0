"""Where windows become words: engines, the batcher, device processes and the pool that keeps them alive."""
