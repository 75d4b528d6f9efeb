"""Who may do what on the console: accounts, roles, sessions, tokens, and the door they pass."""
