"""What several processes agree on, in Redis: keys, scripts and one typed function per script."""
