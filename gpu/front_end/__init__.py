"""From a batch of calls' own bytes to features on the device: numpy, PyTorch or NVIDIA DALI, the same numbers.

The live path computes each frame once, on the host, as audio comes (`streaming.features`). This is for windows whose
audio is on the host as the call sent it and whose model is on a GPU: 8 bytes a millisecond cross instead of 32.
"""
