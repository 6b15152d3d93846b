"""Posts: drafts, who sees them, who changes them."""
