"""`refresher serve`: the service as one process, or as a supervisor with several workers."""
