"""Work that must not run on the event loop: in threads, worker processes and slices of time."""
