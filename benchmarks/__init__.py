"""Scripts that measure disasym. Not shipped: run them from a checkout, README.md says how."""
