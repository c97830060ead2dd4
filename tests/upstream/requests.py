"""Requests that bring a rule of what they may connect to."""

import httpx

from refresher.upstream.addresses import EXTENSION, AddressRule

PUBLIC = "93.184.216.34"


def from_public(url: str) -> httpx.Request:
    """What a redirect from a public address would ask for."""
    rule = AddressRule(PUBLIC)
    rule.redirected()
    return httpx.Request("GET", url, extensions={EXTENSION: rule})
