"""The events of Central's log on Kafka: a publisher, a process of its own that follows the log over the wire."""
