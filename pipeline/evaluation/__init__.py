"""How good generated images are: extractors, the real side, scores and their protocol."""
