"""Developer tools: programs run by hand or by the build, never by the server itself."""
