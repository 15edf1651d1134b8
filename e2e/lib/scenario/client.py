"""The client: writes and reads rows all along, and tells what it saw."""
