"""`refresher demo`: the real service and an upstream that misbehaves, both on this machine."""
