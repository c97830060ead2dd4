"""`refresher serve` with $WORKERS workers, each with a memory of its own: no config may say so."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from refresher.config import load
from refresher.serve.serve import serve_config

if __name__ == "__main__":
    path, overrides = Path("config.toml"), {"server.port": 0}
    read = load(path, environ=os.environ, overrides=overrides)
    several = replace(read, server=replace(read.server, workers=int(os.environ["WORKERS"])))
    sys.exit(serve_config(several, path, overrides=overrides))
