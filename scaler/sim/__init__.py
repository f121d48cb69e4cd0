"""A simulated fleet: time is a number, devices are lines of cost, and everything that decides is the real code."""
