"""The log (Kafka, or embedded), the exactly-once loops, dead letters and the outbox."""
