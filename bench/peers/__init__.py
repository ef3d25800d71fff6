"""Programs the server is measured against; nothing here is used by the server."""
