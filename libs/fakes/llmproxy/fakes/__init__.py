"""Fake model providers: each speaks its vendor's wire format, refuses what the vendor refuses, and answers predictably."""
