"""What decides about load: pure, told the time and measurements, answering with actions and reasons in words."""
