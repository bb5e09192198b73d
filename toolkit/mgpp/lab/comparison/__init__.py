"""Methods compared: frame, intervals, table, figures."""
