"""OpenAI and the many vendors that speak its format."""
