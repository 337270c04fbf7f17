"""The life of an organism: worlds, learners, evolution, evaluation, run folders and the command line."""
