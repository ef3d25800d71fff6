"""The command `python gen-server.py`: calls `gen_server.main`. Everything else is there."""

try:
    from gen_server import main
    from minimon_server.terminal import leave

    status = main()
    leave(status)
except KeyboardInterrupt:  # during the imports
    status = 130
raise SystemExit(status)
