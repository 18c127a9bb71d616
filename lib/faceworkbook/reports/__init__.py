"""Running notebooks, keeping what they made, and turning it into HTML."""
