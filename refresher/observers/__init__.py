"""The observers of attempts: the log and the metrics."""
