"""Where transcripts go by themselves: signed webhooks and a public Kafka topic."""
