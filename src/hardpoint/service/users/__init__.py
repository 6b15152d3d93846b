"""Users: who has an account, and what an admin does with them."""
