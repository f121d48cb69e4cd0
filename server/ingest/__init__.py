"""Calls whose audio others write to a Kafka topic."""
