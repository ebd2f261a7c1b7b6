"""One file a stage, and one for studies: parameters in, calls of the domain out."""
