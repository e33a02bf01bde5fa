"""The studio with the pretended trainer: `python serve.py PORT RUNS_DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

from studio import jobs
from studio.app import serve

jobs.TRAINER = [sys.executable, str(Path(__file__).parent / "trainer.py")]

if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), open_browser=False)
