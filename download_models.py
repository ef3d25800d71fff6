"""The command `python download_models.py --model sdxl-base`: calls `minimon_server.catalog.command`, which does it."""

import os
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent
INSTALL = f"Run: python -m pip install -r {HOME / 'requirements-light.txt'}"

try:
    from minimon_server.catalog.command import main
    from minimon_server.environment import read_settings
    from minimon_server.errors import StartupError
except ModuleNotFoundError as error:
    if (error.name or "").startswith("minimon_server"):
        raise
    raise SystemExit(f"The Python package {error.name!r} is not installed for {sys.executable}.\n{INSTALL}") from None

if __name__ == "__main__":
    try:
        models = read_settings(os.environ, home=HOME, here=Path.cwd()).models_dir
        status = main(sys.argv[1:], os.environ, models)
    except StartupError as problem:
        status = problem.exit_status
        print(*problem.lines, sep="\n", file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)
