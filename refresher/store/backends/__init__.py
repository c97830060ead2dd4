"""Where documents and bodies are kept: one module for each kind of store, one test for them all."""
