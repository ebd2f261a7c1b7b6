"""Where images come from: each source yields keyed, labelled squares of one size."""
