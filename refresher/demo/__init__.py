"""Everything at once, against an upstream of our own on loopback."""
