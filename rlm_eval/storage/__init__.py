"""What lies on the disk: run and cell directories, journals, leases, shards."""
