"""What is kept of jobs and upstreams over restarts: ledgers, changed by compare-and-set."""
