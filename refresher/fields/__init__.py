"""Values of header fields, read and written as their standards say and servers do; no I/O."""
