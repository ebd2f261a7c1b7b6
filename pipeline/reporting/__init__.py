"""The report: one page that opens anywhere, and the plots that DVC shows."""
