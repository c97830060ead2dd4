"""What runs between entry and exit, and how it is put together from the configuration."""
