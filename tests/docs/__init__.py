"""The documentation, held to the code: blocks run, and what is named is there, all of it."""
