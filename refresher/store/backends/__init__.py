"""Where snapshots are kept: one module a kind, all under one contract test."""
