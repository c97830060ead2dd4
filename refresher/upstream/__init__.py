"""The way to an upstream: connections, addresses, limits, credentials and the reading of a body."""
