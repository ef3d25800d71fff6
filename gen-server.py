"""The command `python gen-server.py`: calls `gen_server.main`. Everything else is there."""

from gen_server import main

raise SystemExit(main())
