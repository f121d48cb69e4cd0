"""From a batch of calls' own bytes to features on the device: numpy, PyTorch or NVIDIA DALI, the same numbers.

By default the host computes each frame once, as audio comes (`streaming.features`), and windows carry features. Where
``devices.front_end`` names one of these, windows carry the bytes that the call sent, 8 a millisecond instead of 32, the
host computes no features at all, and a window's are computed on its device each time it is decoded.
"""
