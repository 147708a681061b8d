"""Each report's JSON object and its lines, one file a report."""
