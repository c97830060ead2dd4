"""Redaction of secrets, tokens that requests need, and excerpts of foreign text."""
