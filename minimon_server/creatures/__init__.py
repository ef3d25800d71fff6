"""What a Minimon is: its rarity, its name, its id, and which picture it gets. Knows nothing of HTTP."""
