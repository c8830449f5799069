"""Rooms: who is in one, who hears whom in which language, and when it ends."""
