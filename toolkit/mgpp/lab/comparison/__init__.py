"""Compare methods: frame, intervals, table, figures."""
