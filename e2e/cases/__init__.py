"""The cases. Each module is one: its first line says what it shows, `run` shows it."""
