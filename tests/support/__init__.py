"""Code that tests share: data, processes, servers and clusters."""
