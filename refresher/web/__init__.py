"""The edge to HTTP: what is read, said and asked over it."""
