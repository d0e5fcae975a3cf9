"""What commands write and a report reads: result files, metrics, tables, charts. Imports no other package."""
