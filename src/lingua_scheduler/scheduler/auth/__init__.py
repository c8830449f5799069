"""Who may speak, work or steer here."""
