"""A sweep as jobs of a cluster, and servers that several jobs share."""
