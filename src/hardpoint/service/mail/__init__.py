"""Mails about accounts, queued with the data that they tell of."""
