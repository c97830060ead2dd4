"""The version of this package, for its metadata, its User-Agent and its metrics."""

VERSION = "0.1.0"
