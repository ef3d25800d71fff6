"""Who vouches: scores signed, kept in a ledger, and provable to anyone. Knows nothing of HTTP or pictures."""
