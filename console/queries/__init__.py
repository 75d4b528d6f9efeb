"""Questions the pages and the API ask of the read model. Each takes a connection."""
