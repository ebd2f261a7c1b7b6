"""Images of any origin as one side of the metrics: folders, tables, arrays, shards."""
