"""Files on disk: run and cell directories, journals, leases, shards."""
