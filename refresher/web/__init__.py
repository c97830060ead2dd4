"""The HTTP API: reads, status and admin endpoints."""
