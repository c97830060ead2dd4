"""Who is told how attempts end: a log and the metrics."""
