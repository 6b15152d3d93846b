"""What clients hear of at once: the channels, and how they are told without losing anything."""
