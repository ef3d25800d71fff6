"""Who draws. Each engine imports what it needs when it is asked for; nothing here knows of rarities or HTTP."""
