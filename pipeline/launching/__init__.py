"""How the processes of a training job come to be: in this one, by torchrun, or by Ray."""
