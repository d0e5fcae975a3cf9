"""The parts of a report, one file each: results in, blocks out."""
