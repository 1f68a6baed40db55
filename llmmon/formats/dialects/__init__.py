"""The dialects, a file each (or one for a family that shares a shape); `formats.DIALECTS` is the table."""
