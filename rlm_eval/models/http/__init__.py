"""Models behind an HTTP API: dialects, transport, retries, rate limits."""
