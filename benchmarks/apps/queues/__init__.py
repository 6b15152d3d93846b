"""The same job in each library; each module has what its worker imports and how its jobs are enqueued."""
