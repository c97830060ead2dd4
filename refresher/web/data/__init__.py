"""The read path: from a request for data to the bytes of its answer."""
